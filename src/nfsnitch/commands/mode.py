"""``nfsnitch mode``: what becomes of connections that have to be asked about."""

from __future__ import annotations

import argparse

from nfsnitch.commands.asking import add_daemon_options, asking, write_line
from nfsnitch.commands.status import mode_words
from nfsnitch.control_client import Client
from nfsnitch.options import UsageError
from nfsnitch.prompt.durations import seconds
from nfsnitch.protocol import Mode, ModeRequest, ModeSet, Status, StatusRequest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Show or set what becomes of connections that have to be asked about (root, and members "
        "of the daemon's group): they are held and asked about, or let out or dropped silently and "
        "listed for later (nfsnitch rules silenced)."
    )
    add_daemon_options(parser)
    parser.add_argument(
        "mode", nargs="?", choices=[mode.value for mode in Mode], help="set it; else it is shown"
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=_seconds,
        metavar="TIME",
        help="then ask again: 90s, 15m, 8h or 2d from now (default: until somebody sets it)",
    )
    parser.set_defaults(command=mode)


def mode(options: argparse.Namespace) -> int:
    """Show the mode, or set it; return the exit status."""
    if options.for_s is not None and options.mode in {None, Mode.ASK}:
        raise UsageError("--for goes with allow-silently and deny-silently: then it asks again")
    return asking(options, lambda client: _mode(client, options))


def _mode(client: Client, options: argparse.Namespace) -> int:
    if options.mode is None:
        now = client.ask(StatusRequest(), Status)
        write_line(mode_words(now.mode, now.mode_left_s))
    else:
        is_set = client.ask(ModeRequest(options.mode, options.for_s), ModeSet)
        write_line(mode_words(is_set.mode, is_set.left_s))
    return 0


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
