"""``nfsnitch lab``: networks of one machine, with the real firewall in them."""

from __future__ import annotations

import argparse
import importlib
import importlib.util

_COMMANDS = {
    "run": (
        "lab_run",
        "play scenarios: what is sent, and what becomes of it",
        (
            "Build the networks that scenario files describe, with the real firewall in them, play "
            "the scenarios, and take everything down again (root only). Exit status 1 if one "
            "fails, 2 if a file is wrong; those that need what this machine has not are skipped."
        ),
    ),
    "replay": (
        "lab_replay",
        "decide recorded traffic by other rules",
        "Decide the flows of a capture, or of records, by rules; no network and no root is needed.",
    ),
    "shell": (
        "lab_shell",
        "send packets by hand, in such a network",
        (
            "Build a network with the firewall running, and open an interactive scapy in its "
            "client (root only); records are shown as they are made."
        ),
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Try the firewall in network namespaces of its own: nothing of this machine's network is "
        "touched."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, purpose, description) in _COMMANDS.items():
        place = f"nfsnitch.commands.{module}"
        if importlib.util.find_spec(place) is None:
            continue
        of_command = commands.add_parser(
            name, help=purpose, description=description, allow_abbrev=False
        )
        importlib.import_module(place).add_options(of_command)
