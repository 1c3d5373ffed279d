"""``nfsnitch rules silenced`` and ``from-silenced``: what would have been asked."""

from __future__ import annotations

import argparse
import json
from typing import Any

from nfsnitch.commands.asking import asking, say, write_line
from nfsnitch.commands.paging import all_rows
from nfsnitch.commands.table import table, table_columns
from nfsnitch.control_client import Client, ControlError
from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.durations import in_words
from nfsnitch.prompt.words import DONE, clock_time, destination, user_name, who_in_short
from nfsnitch.protocol import (
    MOST_ANSWERED,
    Answered,
    AnswerRequest,
    Say,
    Silenced,
    SilencedRequest,
)

_HEADINGS = ("", "LAST", "WHO", "USER", "WHERE TO", "HOW OFTEN")


def list_silenced(options: argparse.Namespace) -> int:
    """Print what would have been asked; return the exit status."""
    return asking(options, lambda client: _list(client, as_json=options.json))


def from_silenced(options: argparse.Namespace) -> int:
    """Answer what would have been asked; return the exit status."""
    return asking(options, lambda client: _answer(client, options))


def _list(client: Client, *, as_json: bool) -> int:
    rows = list(all_rows(client, SilencedRequest, Silenced))
    if as_json:
        for row in rows:
            if not write_line(json.dumps(row, separators=(",", ":"))):
                break
    elif rows:
        cells = [_cells(row) for row in rows]
        write_line("\n".join(table(_HEADINGS, cells, table_columns())))
    else:
        write_line("nothing would have been asked")
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    owner, flow = (row[key] if isinstance(row.get(key), dict) else {} for key in ("owner", "flow"))
    proto = flow.get("proto")
    where = f"{destination(flow)} {shown(proto)}" if isinstance(proto, str) else destination(flow)
    return (
        str(row.get("number", "?")),
        clock_time(row.get("since")),
        who_in_short(owner),
        _user(owner),
        where,
        _how_often(row),
    )


def _user(owner: dict[str, Any]) -> str:
    name, uid = owner.get("user"), owner.get("uid")
    if isinstance(name, str):
        return shown(name)
    return user_name(uid) if isinstance(uid, int) else "?"


def _how_often(row: dict[str, Any]) -> str:
    times, silently = row.get("times"), row.get("silently")
    done = DONE.get(Say(silently), "") if silently in set(Say) else ""
    number = counted(times, "time") if isinstance(times, int) else "?"
    return f"{number}, {done} last" if done else number


def _answer(client: Client, options: argparse.Namespace) -> int:
    numbers = tuple(dict.fromkeys(options.number))
    missing: list[int] = []
    for first in range(0, len(numbers), MOST_ANSWERED):
        some = numbers[first : first + MOST_ANSWERED]
        scope = (options.who, options.where, options.duration)
        done = client.ask(AnswerRequest(some, options.action, *scope, None), Answered)
        missing += (each for each in some if each not in done.taken)
        _tell(done, options)
    if missing:
        names = ", ".join(map(str, missing[:10]))
        say(f"not in the list (any more): {names}; see nfsnitch rules silenced")
        return ControlError.exit_status
    return 0


def _tell(done: Answered, options: argparse.Namespace) -> None:
    if options.action == Say.DISMISS:
        write_line(f"forgot {counted(len(done.taken), 'entry').replace('entrys', 'entries')}")
        return
    for name in done.rules:
        write_line(f"made '{shown(name)}': {options.action}, {in_words(options.duration)}")
    if done.problem is not None:
        say(f"in force only until the daemon ends: {shown(done.problem)}")
