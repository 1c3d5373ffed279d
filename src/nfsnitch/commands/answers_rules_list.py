"""``nfsnitch rules list``, ``revoke`` and ``move``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from nfsnitch.commands.asking import asking, say, write_line
from nfsnitch.commands.paging import all_rows
from nfsnitch.commands.status import duration
from nfsnitch.commands.table import table, table_columns
from nfsnitch.control_client import Client, ControlError
from nfsnitch.core.text import shown
from nfsnitch.prompt.columns import without_middle
from nfsnitch.prompt.durations import in_words
from nfsnitch.protocol import (
    UNTIL,
    MoveRuleRequest,
    Revoked,
    RevokeRequest,
    RuleKind,
    Rules,
    RuleSet,
    RulesRequest,
)

Row = Mapping[str, Any]
_KINDS = (RuleKind.TEMPORARY, RuleKind.LASTING, RuleKind.FILE)
_HEADINGS = {
    RuleKind.TEMPORARY: "answers that the daemon forgets",
    RuleKind.LASTING: "lasting answers",
    RuleKind.FILE: "rule files",
}
_NAME_CHARACTERS = 200


def list_rules(options: argparse.Namespace) -> int:
    """Print the rules in force; return the exit status."""
    kinds = [kind for kind in _KINDS if kind in (options.kind or _KINDS)]
    return asking(options, lambda client: _list(client, kinds, as_json=options.json))


def revoke_rules(options: argparse.Namespace) -> int:
    """Take rules back, as many as possible; return the exit status."""
    return asking(options, lambda client: _revoke(client, options.name))


def move_rule(options: argparse.Namespace) -> int:
    """Move a lasting rule; return the exit status."""

    def move(client: Client) -> int:
        name = name_meant(client, options.name)
        moved = client.ask(MoveRuleRequest(name, options.place - 1), RuleSet)
        write_line(f"'{shown(moved.name)}' is number {options.place} of the lasting rules")
        return tell_problem(moved)

    return asking(options, move)


def rows_of(client: Client, kind: RuleKind) -> Iterator[Row]:
    """Return all rules of a kind.

    Raises:
        ControlError: the daemon does not say.

    """
    return all_rows(client, partial(RulesRequest, kind), Rules)


def name_meant(client: Client, name: str) -> str:
    """Return the rule's name as it is, where somebody has copied it from what was shown."""
    if "\\" not in name:
        return name
    names = [
        str(row.get("name")) for kind in _KINDS[:2] for row in rows_of(client, kind)
    ]  # those of files cannot be changed here
    if name in names:
        return name
    return next((each for each in names if shown(each) == name), name)


def tell_problem(done: RuleSet) -> int:
    """Say why a rule is not kept, if that is so; return the exit status."""
    if done.problem is None:
        return 0
    say(f"in force only until the daemon ends: {shown(done.problem)}")
    return ControlError.exit_status


def _list(client: Client, kinds: list[RuleKind], *, as_json: bool) -> int:
    columns = table_columns()
    is_first = True
    for kind in kinds:
        rows = list(rows_of(client, kind))
        if as_json:
            lines = [json.dumps(row, separators=(",", ":")) for row in rows]
        else:
            lines = [] if is_first else [""]
            lines += _table(kind, rows, columns)
        is_first = False
        if lines and not write_line("\n".join(lines)):
            break
    return 0


def _table(kind: RuleKind, rows: list[Row], columns: int | None) -> Iterator[str]:
    if not rows:
        yield f"{_HEADINGS[kind]}: none"
        return
    yield f"{_HEADINGS[kind]}:"
    if kind is RuleKind.FILE:
        yield from table(
            ("NAME", "ACTION", "WHERE", ""),
            [(_name(row), _text(row, "action"), _text(row, "origin"), _state(row)) for row in rows],
            columns,
        )
        return
    yield from table(
        ("", "NAME", "ACTION", "HOW LONG", ""),
        [
            (str(at), _name(row), _text(row, "action"), _how_long(row), _state(row))
            for at, row in enumerate(rows, 1)
        ],
        columns,
    )


def _name(row: Row) -> str:
    return shown(without_middle(str(row.get("name", "?")), _NAME_CHARACTERS))


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return shown(value) if isinstance(value, str) else "?"


def _how_long(row: Row) -> str:
    process, until, left_s = row.get("process"), row.get("until"), row.get("left_s")
    if isinstance(process, int):
        return f"while process {process} lives"
    if isinstance(left_s, int | float):
        return f"{duration(left_s)} left"
    if isinstance(until, str):
        return in_words(f"{UNTIL} {until}")
    return "for ever" if row.get("kind") == RuleKind.LASTING else "until the daemon ends"


def _state(row: Row) -> str:
    words = ["disabled"] if row.get("enabled") is False else []
    words += ["expired"] if row.get("expired") is True else []
    if isinstance(row.get("note"), str):
        words.append(_text(row, "note"))
    return ", ".join(words)


def _revoke(client: Client, names: list[str]) -> int:
    status = 0
    for name in names:
        try:
            gone = client.ask(RevokeRequest(name_meant(client, name)), Revoked)
        except ControlError as error:
            say(str(error))
            status = status or error.exit_status
        else:
            write_line(f"revoked '{shown(gone.name)}'")
    return status
