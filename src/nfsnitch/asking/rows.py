"""Questions, rules, records and connections as the protocol has them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nfsnitch.asking.book import AnswerBook, Temporary
from nfsnitch.core.choices import wheres, whos
from nfsnitch.core.decision import Action
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import Names
from nfsnitch.core.name_record import names_json
from nfsnitch.core.owner import Owner
from nfsnitch.core.question import Question
from nfsnitch.core.record import Record, flow_json, owner_json, time_text
from nfsnitch.core.rule import Rule
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol import MAX_REPLY_BYTES, Asked, RuleKind

Row = dict[str, Any]
NamesOf = Callable[[Owner, bytes], Names]
"""Returns the names of a packed address that count for an owner."""

_LONG = frozenset({"args", "parents", "sha256", "previous_sha256", "cgroup"})
"""Of an owner, what a list of connections does without."""
_MOST_ARGS_CHARACTERS = 8_000
_MOST_RIVAL_ARGS_CHARACTERS = 500
_MOST_TEXT_CHARACTERS = 2_000
_MOST_RIVALS = 8
_PAGE_BYTES = MAX_REPLY_BYTES // 2


def page(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the first rows, as many as one answer has room for."""
    kept, left_bytes = list[Row](), _PAGE_BYTES
    for row in rows:
        left_bytes -= len(json.dumps(row))
        if left_bytes < 0 and kept:
            break
        kept.append(row)
    return tuple(kept)


def record_row(record: Record) -> Row:
    """Return the row of a record, with what is longer than anybody reads cut."""
    row = _bounded(record.as_json())
    if "rivals" in row:
        row["rivals"] = list(map(_rival, row["rivals"][:_MOST_RIVALS]))
    return row


def silenced(question: Question, now: Instant) -> Row:
    """Return a question that nobody is asked, as a row."""
    message = asked(question, now, question.ruling.action)
    return {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}


def asked(question: Question, now: Instant, silently: Action | None = None) -> Asked:
    """Return a question as people are to see it; *silently*: what becomes of it unasked."""
    found, ruling = question.found, question.ruling
    iface = question.iface
    return Asked(
        number=question.number,
        since=time_text(question.asked.wall_ns),
        left_s=max(0, question.deadline_ns - now.monotonic_ns) / 1e9,
        flows=question.flows,
        reason=ruling.reason.value,
        rule=ruling.rule,
        owner=_bounded(owner_json(found.owner)),
        rivals=tuple(_rival(owner_json(each)) for each in found.rivals[:_MOST_RIVALS]),
        flow=flow_json(question.flow) | names_json(found.names, now.monotonic_ns),
        iface=None if isinstance(iface, Unknown) else iface,
        attribution=found.attribution.value,
        who={each.value: _cut(choice.text) for each, choice in whos(question).items()},
        where={each.value: choice.text for each, choice in wheres(question).items()},
        times=question.times,
        silently=None if silently is None else silently.value,
    )


def lasting_rows(book: AnswerBook, first: int, count: int, now: Instant) -> tuple[Row, ...]:
    """Return the rows of rules kept in the file, *count* from place *first* on."""
    text = book.lasting
    places = range(len(text.blocks))[first : first + count]
    rows = []
    for at in places:
        block = text.blocks[at]
        row = _row(block.rule, RuleKind.LASTING, now)
        rows.append(row | {"origin": f"{text.name}:{text.line_of(at)}", "rule": block.text})
    return tuple(rows)


def temporary_rows(each: Iterable[Temporary], now: Instant) -> tuple[Row, ...]:
    """Return the rows of rules that end."""
    return tuple(_temporary(one, now) for one in each)


def file_rows(rules: Iterable[Rule], texts: Mapping[str, str], now: Instant) -> tuple[Row, ...]:
    """Return the rows of rules that people have written to rule files; *texts*: their YAML."""
    return tuple(_row(rule, RuleKind.FILE, now) | {"rule": texts.get(rule.name)} for rule in rules)


def connection_row(live: LiveFlow, names_of: NamesOf, now: Instant) -> Row | None:
    """Return the row of a flow under way; None if nobody has it any more."""
    found = live.found
    if found is None:
        return None
    return {
        **flow_json(live.flow),
        **names_json(names_of(found.owner, live.flow.daddr), now.monotonic_ns),
        **{key: _short(each) for key, each in owner_json(found.owner).items() if key not in _LONG},
        "iface": None if isinstance(live.iface, Unknown) else live.iface,
        "passes": live.labelled,
    }


def _rival(owner: Row) -> Row:
    return _bounded(owner, _MOST_RIVAL_ARGS_CHARACTERS)


def _bounded(owner: Row, most: int = _MOST_ARGS_CHARACTERS) -> Row:
    """Return the owner with what is longer than anybody reads cut; *most* is for arguments."""
    row = {key: _short(value) for key, value in owner.items()}
    args, parents = owner["args"], owner.get("parents")
    if isinstance(args, list):
        kept = _up_to(most, args)
        row["args"] = kept
        if kept != args:
            row["args_cut"] = True
    if isinstance(parents, list):
        row["parents"] = _parents_up_to(most, parents)
    return row


def _up_to(most: int, texts: list[str]) -> list[str]:
    kept, left = list[str](), most
    for text in texts:
        if left <= 0:
            break
        kept.append(text[:left])
        left -= max(1, len(text))
    return kept


def _parents_up_to(most: int, parents: list[Row]) -> list[Row]:
    kept, left = list[Row](), most
    for parent in parents:
        if left <= 0:
            break
        kept.append(parent | {"exe": _short(parent["exe"])})
        left -= len(str(parent["exe"]))
    return kept


def _short(value: Any) -> Any:  # noqa: ANN401  what a record may hold
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    too_long = len(text) > _MOST_TEXT_CHARACTERS
    return f"{text[:_MOST_TEXT_CHARACTERS]}…" if too_long else text


def _temporary(each: Temporary, now: Instant) -> Row:
    row = _row(each.block.rule, RuleKind.TEMPORARY, now)
    left_s = None if each.until_ns is None else max(0, each.until_ns - now.monotonic_ns) / 1e9
    process = each.process.pid if each.process else None
    return row | {"left_s": left_s, "process": process, "rule": each.block.text, "origin": None}


def _row(rule: Rule, kind: RuleKind, now: Instant) -> Row:
    expires_ns = rule.expires_ns
    until = None if expires_ns is None else _second(expires_ns)
    left_s = None if expires_ns is None else max(0, expires_ns - now.wall_ns) / 1e9
    return {
        "name": rule.name,
        "action": rule.action.value,
        "kind": kind.value,
        "enabled": rule.enabled,
        "expired": left_s == 0,
        "note": rule.note,
        "origin": rule.origin,
        "until": until,
        "left_s": left_s,
        "process": None,
        "rule": None,
    }


def _second(wall_ns: int) -> str | None:
    try:
        return f"{datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return None
