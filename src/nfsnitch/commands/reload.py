"""``nfsnitch reload``: have the daemon read its rules again."""

from __future__ import annotations

import argparse

from nfsnitch.commands.asking import add_daemon_options, asking, say, write_line
from nfsnitch.control_client import Client
from nfsnitch.core.text import counted
from nfsnitch.protocol import Reloaded, ReloadRequest

_TIMEOUT_S = 60.0
"""Large rule files take their time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Have the daemon read its rule files again (root only). Exit status 1 if they cannot be "
        "used: then the old rules stay in force."
    )
    add_daemon_options(parser)
    parser.set_defaults(command=lambda options: asking(options, _reload))


def _reload(client: Client) -> int:
    done = client.ask(ReloadRequest(), Reloaded, _TIMEOUT_S)
    if done.problem is not None:
        for line in done.problem.splitlines():
            say(line if line.isprintable() else ascii(line))
        say(f"not reloaded: generation {done.generation} stays in force")
        return 1
    rules, cut = counted(done.rules, "rule"), counted(done.cut_flows, "flow")
    write_line(f"generation {done.generation}: {rules} in force, {cut} cut")
    return 0
