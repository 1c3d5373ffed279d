"""``nfsnitch watch``: every decision, as it is made."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from nfsnitch.commands.asking import (
    INTERRUPTED,
    add_daemon_options,
    daemon_of,
    say,
    write_line,
)
from nfsnitch.commands.record_line import record_line
from nfsnitch.control_client import Client, ControlError, NotRunningError
from nfsnitch.core.decision import Verdict
from nfsnitch.protocol import Missed, Recorded, Stopping, Watching, WatchRequest

_AGAIN_S = 1.0
_UNREAD_S = 10.0
"""The rest of a message is on its way when its beginning has come."""

Record = Mapping[str, Any]


class _NobodyReadsError(Exception):
    """Standard output is closed."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Show every decision from now on (root, and members of the daemon's group), until Ctrl-C "
        "or until the daemon stops. Exit status 3 if none runs."
    )
    add_daemon_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, as run --records writes"
    )
    parser.add_argument(
        "--follow", action="store_true", help="wait for a daemon, and for the next one, for ever"
    )
    parser.add_argument(
        "--verdict",
        action="append",
        # No record has "peek": what it stands for is recorded when it is decided.
        choices=[each.value for each in Verdict if each is not Verdict.PEEK],
        help="only these; may be repeated",
    )
    parser.add_argument("--exe", metavar="GLOB", help="only programs with such a path (* for any)")
    parser.add_argument("--uid", type=int, metavar="N", help="only this user's")
    parser.set_defaults(command=watch)


def watch(options: argparse.Namespace) -> int:
    """Print records until the daemon or the reader is gone; return the exit status."""
    path = daemon_of(options).path
    show = _json_line if options.json else _human_line()
    waits = False
    try:
        while True:
            try:
                with Client(path) as client:
                    client.ask(WatchRequest(), Watching)
                    waits = False
                    stopped = _show_all(client, _filter(options), show)
            except NotRunningError as error:
                if not options.follow:
                    raise
                if not waits:
                    say(f"{error}; waiting for one")
                waits = True
                time.sleep(_AGAIN_S)
                continue
            if not options.follow:
                return _farewell(stopped=stopped)
            say("the daemon has stopped" if stopped else "the daemon is gone, without a word")
    except ControlError as error:
        say(str(error))
        return error.exit_status
    except _NobodyReadsError:
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _farewell(*, stopped: bool) -> int:
    if stopped:
        say("the daemon has stopped")
        return 0
    say("the daemon is gone, without a word: it may have crashed; see nfsnitch status")
    return NotRunningError.exit_status


def _show_all(
    client: Client, is_wanted: Callable[[Record], bool], show: Callable[[Record], str]
) -> bool:
    """Print what comes; return whether the daemon said goodbye."""
    while True:
        if not client.has_more:
            _wait(client)
        message = client.receive(_UNREAD_S)
        if message is None or isinstance(message, Stopping):
            return message is not None
        if isinstance(message, Missed):
            say(f"{message.count} records missed here: they came faster than they were read")
        elif isinstance(message, Recorded) and is_wanted(message.record):
            _print(show(message.record))


def _print(line: str) -> None:
    if not write_line(line):
        raise _NobodyReadsError


def _wait(client: Client) -> None:
    """Wait until the daemon has said something."""
    poll = select.poll()
    poll.register(client, select.POLLIN)
    poll.register(sys.stdout, 0)  # POLLERR alone: the reader of the pipe is gone
    for descriptor, event in poll.poll():
        if descriptor != client.fileno() and event & (select.POLLERR | select.POLLNVAL):
            raise _NobodyReadsError


def _filter(options: argparse.Namespace) -> Callable[[Record], bool]:
    def is_wanted(record: Record) -> bool:
        if options.verdict and record.get("verdict") not in options.verdict:
            return False
        if options.uid is not None and record.get("uid") != options.uid:
            return False
        exe = record.get("exe")
        return options.exe is None or (
            isinstance(exe, str) and fnmatch.fnmatchcase(exe, options.exe)
        )

    return is_wanted


def _json_line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"))


def _human_line() -> Callable[[Record], str]:
    # See no-color.org: set to anything but nothing.
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return lambda record: record_line(record, colour=colour)
