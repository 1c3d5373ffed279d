"""Questions, rules, records and connections as the protocol has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nfsnitch.asking.book import AnswerBook, Temporary
from nfsnitch.core.choices import wheres, whos
from nfsnitch.core.decision import Action
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.instant import Instant
from nfsnitch.core.question import Question
from nfsnitch.core.record import flow_json, owner_json, time_text
from nfsnitch.core.rule import Rule
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol import Asked, RuleKind

Row = dict[str, Any]

_LONG = frozenset({"args", "parents", "sha256", "previous_sha256", "cgroup"})
"""Of an owner, what a list of connections does without."""
_MOST_ARGS_CHARACTERS = 8_000


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
        rivals=tuple(_bounded(owner_json(each)) for each in found.rivals),
        flow=flow_json(question.flow),
        iface=None if isinstance(iface, Unknown) else iface,
        attribution=found.attribution.value,
        who={each.value: choice.text for each, choice in whos(question).items()},
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


def connection_row(live: LiveFlow) -> Row | None:
    """Return the row of a flow under way; None if nobody has it any more."""
    found = live.found
    if found is None:
        return None
    return {
        **flow_json(live.flow),
        **{key: each for key, each in owner_json(found.owner).items() if key not in _LONG},
        "iface": None if isinstance(live.iface, Unknown) else live.iface,
        "passes": live.labelled,
    }


def _bounded(owner: Row) -> Row:
    """Return the owner with its arguments cut, where they are longer than anybody reads."""
    args = owner["args"]
    if not isinstance(args, list):
        return owner
    kept, left = list[str](), _MOST_ARGS_CHARACTERS
    for arg in args:
        kept.append(arg[:left])
        left -= len(arg)
        if left <= 0:
            return owner | {"args": kept, "args_cut": True}
    return owner


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
