"""``nfsnitch lists show``, ``refresh`` and ``find``: what the daemon says of its lists."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from nfsnitch.commands.asking import asking, say, write_line
from nfsnitch.commands.list_words import counted
from nfsnitch.commands.paging import all_rows
from nfsnitch.commands.progress_bar import ProgressBar
from nfsnitch.commands.status import duration
from nfsnitch.commands.table import table, table_columns
from nfsnitch.control_client import Client
from nfsnitch.core.text import shown
from nfsnitch.protocol import (
    FindListedRequest,
    Listed,
    Lists,
    ListsRequest,
    Refreshing,
    RefreshListsRequest,
)

Row = dict[str, Any]

_LOOK_S = 0.25
_HEADINGS = ("list", "names", "networks", "format", "up to date", "next", "where")
_SECOND = 1.0


def show_lists(options: argparse.Namespace) -> int:
    """Show how the lists are; return the exit status."""
    return asking(options, lambda client: _show(client, as_json=options.json))


def refresh_lists(options: argparse.Namespace) -> int:
    """Bring lists up to date and wait for it; return the exit status."""
    return asking(options, lambda client: _refresh(client, options.name, anyway=options.anyway))


def find_listed(options: argparse.Namespace) -> int:
    """Say which list a name or an address is on; return the exit status."""
    return asking(options, lambda client: _find(client, options.text, as_json=options.json))


def _show(client: Client, *, as_json: bool) -> int:
    rows = list(all_rows(client, ListsRequest, Lists))
    if as_json:
        for row in rows:
            write_line(json.dumps(row))
        return 0
    if not rows:
        write_line("no list is used: rule files name them under lists:")
        return 0
    for line in table(_HEADINGS, [_cells(row) for row in rows], table_columns()):
        write_line(line)
    for row in rows:
        for remark in _remarks(row):
            write_line(remark)
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    checked = row["checked_s"]
    return (
        shown(str(row["name"])),
        _count(row["names"]),
        _count(row["networks"]),
        shown(str(row["format"])),
        "not yet" if checked is None else _ago(checked),
        _next(row),
        shown(str(row["where"])),
    )


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else "-"


def _ago(seconds: float) -> str:
    return "now" if seconds < _SECOND else f"{duration(seconds)} ago"


def _next(row: Row) -> str:
    if row["phase"] is not None:
        return shown(str(row["phase"]))
    if row["waits"]:
        return "soon"
    due_s = row["due_s"]
    if due_s is None:
        return "when it changes" if str(row["where"]).startswith("/") else "never: sha256"
    return f"in {duration(due_s)}" if due_s >= _SECOND else "now"


def _remarks(row: Row) -> Iterator[str]:
    name = shown(str(row["name"]))
    if row["problem"] is not None:
        there = "what there is stays in use" if row["names"] is not None else "nothing is listed"
        yield f"{name}: not brought up to date: {shown_once(row['problem'])}; {there}"
    if row["errors"]:
        lines = counted(int(row["errors"]), "line")
        yield f"{name}: {lines} could not be read (nfsnitch lists check says which)"
    if row["unsupported"]:
        yield f"{name}: {counted(int(row['unsupported']), 'filter')} left out: not for a firewall"


def shown_once(text: object) -> str:
    """Return what the daemon has made fit to be shown, and make it so if it is not."""
    words = str(text)
    return words if words.isprintable() else shown(words)


def _refresh(client: Client, names: list[str], *, anyway: bool) -> int:
    wanted: set[str] = set()
    each: list[str | None] = [*names] or [None]
    for name in each:
        wanted.update(client.ask(RefreshListsRequest(name, anyway), Refreshing).names)
    if not wanted:
        write_line("no list is used: rule files name them under lists:")
        return 0
    bar = ProgressBar(sys.stderr)
    try:
        rows = _wait(client, wanted, bar)
    finally:
        bar.clear()
    for row in rows:
        name = shown(str(row["name"]))
        if row["problem"] is not None:
            say(f"{name}: {shown_once(row['problem'])}")
        else:
            there = counted(int(row["names"] or 0), "name")
            write_line(f"{name}: {there}, {counted(int(row['networks'] or 0), 'network')}")
    return 1 if any(row["problem"] is not None for row in rows) else 0


def _wait(client: Client, wanted: set[str], bar: ProgressBar) -> list[Row]:
    while True:
        rows = [row for row in all_rows(client, ListsRequest, Lists) if row["name"] in wanted]
        busy = [row for row in rows if row["phase"] is not None]
        if not busy and not any(row["waits"] for row in rows):
            return rows
        for row in busy[:1]:
            bar.show(shown(str(row["name"])), str(row["phase"]), row["done"], row["total"])
        time.sleep(_LOOK_S)


def _find(client: Client, text: str, *, as_json: bool) -> int:
    found = client.ask(FindListedRequest(text), Listed)
    for row in found.rows:
        if as_json:
            write_line(json.dumps(row))
        else:
            name, what = shown(str(row["list"])), shown(str(row["text"]))
            write_line(f"{name}: line {row['line']}: {what}")
    for name in found.missing:
        say(f"{shown(name)}: there is nothing of this list yet")
    if not found.rows and not as_json:
        write_line(f"{shown(text)} is on no list")
    return 0 if found.rows else 1
