"""``nfsnitch prompt``: the daemon's questions at a terminal, and a person's answers."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from nfsnitch.commands.asking import INTERRUPTED, add_daemon_options, daemon_of, say
from nfsnitch.options import UsageError
from nfsnitch.prompt.ending import Ending, Options
from nfsnitch.prompt.session import GUARD_S

_CANNOT_BE_DRAWN_ON = frozenset({"", "dumb", "unknown"})
"""Values of $TERM."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Show what the daemon asks, and answer it: by keys, or line by line where TERM is dumb. "
        "Root and members of the daemon's group may; leaving loses nothing, since the daemon has "
        "the questions. Exit status 3 if no daemon runs, or it is gone without a word."
    )
    add_daemon_options(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="for scripts: one JSON object a line, of the daemon to standard output, and requests "
        "from standard input",
    )
    parser.add_argument(
        "--follow", action="store_true", help="wait for a daemon, and for the next one, for ever"
    )
    parser.add_argument(
        "--no-bell", action="store_true", help="ring no bell when something is asked"
    )
    parser.add_argument(
        "--guard-ms", type=int, default=int(GUARD_S * 1_000), help=argparse.SUPPRESS
    )
    parser.set_defaults(command=prompt)


def prompt(options: argparse.Namespace) -> int:
    """Show questions and send answers until there is an end; return the exit status."""
    path = daemon_of(options).path
    try:
        ending = _json(path, options) if options.json else _at_terminal(path, options)
    except KeyboardInterrupt:
        return INTERRUPTED
    for each in (ending.text, *ending.kept):
        if each:
            say(each)
    return ending.status


def _json(path: Path, options: argparse.Namespace) -> Ending:
    from nfsnitch.prompt.json_lines import JsonLines  # noqa: PLC0415  what is not needed is not loaded

    return JsonLines(path, follows=options.follow).run()


def _at_terminal(path: Path, options: argparse.Namespace) -> Ending:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("prompt needs a terminal; for scripts there is prompt --json")
    wanted = Options(options.follow, options.guard_ms / 1_000, not options.no_bell)
    if os.environ.get("TERM", "") in _CANNOT_BE_DRAWN_ON:
        from nfsnitch.prompt.dialogue import Dialogue  # noqa: PLC0415  the same

        return Dialogue(path, wanted).run()
    from nfsnitch.prompt.screen import Screen  # noqa: PLC0415  prompt_toolkit takes its time

    return Screen(path, wanted).run()
