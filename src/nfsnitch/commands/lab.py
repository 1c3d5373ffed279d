"""``nfsnitch lab``: the firewall and its rules tried out, away from the machine's own network."""

from __future__ import annotations

import argparse

from nfsnitch.commands import lab_replay, lab_run, lab_shell

_COMMANDS = {
    "run": (lab_run, "play scenarios: what is sent, and what becomes of it"),
    "replay": (lab_replay, "try rules on captures, or on recorded decisions"),
    "shell": (lab_shell, "send packets by hand, in such a network"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Try rules and firewall out, away from the machine's own network."
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, purpose) in _COMMANDS.items():
        module.add_options(commands.add_parser(name, help=purpose, allow_abbrev=False))
