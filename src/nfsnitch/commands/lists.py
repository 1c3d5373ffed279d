"""``nfsnitch lists``: the lists of domains and networks that rules use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from nfsnitch.commands.asking import add_daemon_options
from nfsnitch.commands.lists_check import check_list
from nfsnitch.commands.lists_show import find_listed, refresh_lists, show_lists
from nfsnitch.core.listing import ListFormat


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Show the lists that rules use (root, and members of the daemon's group), bring them up to "
        "date, and say what is on them. Without a command they are shown."
    )
    parser.set_defaults(command=show_lists, socket=None, netns=None, json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_add_show, _add_refresh, _add_check, _add_find):
        add(commands)


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no other name


def _add(commands: _Commands, name: str, purpose: str, description: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=purpose, description=description, allow_abbrev=False)


def _add_show(commands: _Commands) -> None:
    text = "Show each list: how much is on it, how old it is, and what was wrong the last time."
    parser = _add(commands, "show", "show how the lists are", text)
    add_daemon_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=show_lists)


def _add_refresh(commands: _Commands) -> None:
    text = (
        "Bring lists up to date now (root only), and wait for it. Exit status 1 if that fails: "
        "then what there was stays in use."
    )
    parser = _add(commands, "refresh", "bring lists up to date now", text)
    add_daemon_options(parser)
    parser.add_argument("name", nargs="*", metavar="NAME", help="of a list (default: all)")
    parser.add_argument(
        "--anyway", action="store_true", help="take it even if far less is on it than before"
    )
    parser.set_defaults(command=refresh_lists)


def _add_check(commands: _Commands) -> None:
    text = (
        "Read a list as the daemon would, and say what is on it and what cannot be read; no daemon "
        "is needed. Exit status 1 if it would not be taken."
    )
    parser = _add(commands, "check", "say what is right and wrong with a list", text)
    parser.add_argument("file", type=Path, metavar="FILE", help="the list")
    parser.add_argument(
        "--format",
        choices=[each.value for each in ListFormat],
        default=ListFormat.AUTO.value,
        help="how its lines are to be read (default: as most of them look)",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(command=check_list)


def _add_find(commands: _Commands) -> None:
    text = (
        "Say which line of which list names a host or an address. Exit status 1 if none does, 0 if "
        "one does."
    )
    parser = _add(commands, "find", "say which list a name or an address is on", text)
    add_daemon_options(parser)
    parser.add_argument("text", metavar="NAME", help="a host's name, or an address")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=find_listed)
