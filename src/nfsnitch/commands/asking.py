"""What the commands that ask the daemon have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters import netns
from nfsnitch.control_client import Client, ControlError
from nfsnitch.core.text import shown
from nfsnitch.output import discard_output
from nfsnitch.protocol import socket_path

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class Daemon(NamedTuple):
    """Which daemon is asked."""

    path: Path
    netns: int | None
    """Inode number of its network namespace; None if only its socket is known."""
    is_here: bool
    """Its network namespace is ours."""


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """Let the command line say which daemon is meant."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--netns",
        type=inode_number,
        metavar="INODE",
        help="the daemon of another network namespace: the number in readlink /proc/PID/ns/net",
    )
    which.add_argument("--socket", type=Path, metavar="PATH", help="the daemon with this socket")


def daemon_of(options: argparse.Namespace) -> Daemon:
    """Return the daemon that the command line means; without a word, that of our namespace."""
    here = netns.inode()
    if options.socket is not None:
        return Daemon(options.socket, None, is_here=options.socket == Path(socket_path(here)))
    inode = here if options.netns is None else options.netns
    return Daemon(Path(socket_path(inode)), inode, is_here=inode == here)


def asking(options: argparse.Namespace, ask: Callable[[Client], int]) -> int:
    """Connect, *ask*, and say what went wrong; return the exit status."""
    try:
        with Client(daemon_of(options).path) as client:
            return ask(client)
    except ControlError as error:
        say(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED


def say(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"nfsnitch: {text}\n")


def write_line(text: str) -> bool:
    """Write a line to standard output at once; False if nobody reads there any more."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return False
    return True


def inode_number(text: str) -> int:
    """Return the inode number of a namespace, given as a number or as ``net:[NUMBER]``."""
    digits = text.removeprefix("net:[").removesuffix("]")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > len(str(1 << 64)):
        reason = "a namespace goes by its inode number, as in net:[4026531840]"
        raise argparse.ArgumentTypeError(f"'{shown(text)}': {reason}")
    return int(digits)
