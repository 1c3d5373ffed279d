"""``nfsnitch names``: which names of addresses are known, for which process, and for how long."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from nfsnitch.commands.asking import add_daemon_options, asking, write_line
from nfsnitch.commands.paging import all_rows
from nfsnitch.commands.table import table, table_columns
from nfsnitch.control_client import Client
from nfsnitch.core.name import LEAST_FRESH_S
from nfsnitch.core.text import shown
from nfsnitch.prompt.host_words import age, short_name
from nfsnitch.prompt.words import user_name
from nfsnitch.protocol import KnownNames, NamesRequest

_HEADINGS = ("NAME", "ADDRESS", "ASKED BY", "USER", "FROM", "AGE", "HOLDS")
_WILD = frozenset("*?[")

Row = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "List the names by which programs have looked for addresses, as far as they count still: "
        "root and members of the daemon's groups may. A name counts for the process that has asked "
        "for it, and for others where that has no name of its own (docs/names.md)."
    )
    add_daemon_options(parser)
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="PATTERN",
        help="only names like '*.example.org' or with this text in them, or of this address",
    )
    parser.add_argument(
        "--pid", type=int, metavar="N", help="only those that this process has asked for"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=names)


def names(options: argparse.Namespace) -> int:
    """Print what is known; return the exit status."""
    return asking(options, lambda client: _list(client, options))


def _list(client: Client, options: argparse.Namespace) -> int:
    is_wanted = _filter(options)
    rows = [row for row in all_rows(client, NamesRequest, KnownNames) if is_wanted(row)]
    if options.json:
        for row in rows:
            if not write_line(json.dumps(row, separators=(",", ":"))):
                break
    elif rows:
        rows.sort(key=lambda row: (str(row.get("name")), str(row.get("address"))))
        write_line("\n".join(table(_HEADINGS, list(map(_cells, rows)), table_columns())))
    else:
        what = "no such name is known" if options.pattern or options.pid else "no name is known"
        write_line(f"{what}: no program has asked for one that still counts")
    return 0


def _filter(options: argparse.Namespace) -> Callable[[Row], bool]:
    pattern = None if options.pattern is None else options.pattern.lower().removesuffix(".")

    def is_wanted(row: Row) -> bool:
        if options.pid is not None and row.get("pid") != options.pid:
            return False
        if pattern is None or row.get("address") == pattern:
            return True
        aliases = row.get("aliases")
        texts = [row.get("name"), *(aliases if isinstance(aliases, list) else ())]
        return any(_is_like(str(text), pattern) for text in texts)

    return is_wanted


def _is_like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern) if _WILD & set(pattern) else pattern in text


def _cells(row: Row) -> tuple[str, ...]:
    exe, uid, seconds = row.get("exe"), row.get("uid"), row.get("age_s")
    program = shown(exe.rpartition("/")[2] or exe) if isinstance(exe, str) else "?"
    return (
        short_name(str(row.get("name"))),
        shown(str(row.get("address"))),
        f"{program} [{shown(str(row.get('pid')))}]",
        user_name(uid) if isinstance(uid, int) else "?",
        _source(row),
        age(seconds) if isinstance(seconds, int | float) else "?",
        _holds(row),
    )


def _source(row: Row) -> str:
    source, resolver = shown(str(row.get("source"))), row.get("resolver")
    return f"{source} {shown(resolver)}" if isinstance(resolver, str) else source


def _holds(row: Row) -> str:
    """Return for how long the answer said that it would hold, or that this time is over."""
    aged, ttl_s, counts_s = row.get("age_s"), row.get("ttl_s"), row.get("counts_s")
    if not isinstance(counts_s, int | float) or not isinstance(aged, int | float):
        return "?"
    if row.get("stale") is True:
        return f"stale, {age(counts_s)} more"
    if isinstance(ttl_s, int | float):
        return age(max(0.0, max(ttl_s, LEAST_FRESH_S) - aged))
    return age(counts_s)
