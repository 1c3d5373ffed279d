"""What came of a replay, for people and as one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nfsnitch.core.record import time_text
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import counted, shown
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.captures import NOT_SAID
from nfsnitch.lab.replay.case import ACTIONS, Outcome
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.totals import Alike, Seen, Totals, compared, is_by_fallback

_NAMES_SHOWN = 3
_Json = dict[str, Any]


def headings(*, is_compared: bool, has_before: bool) -> tuple[str, ...]:
    """Return what stands above the columns of `row_cells`."""
    last = ("RULES", "AGAINST") if is_compared else ("DECISION",)
    before = () if is_compared or not has_before else ("BEFORE",)
    return ("FIRST", "TIMES", "FLOW", "PROGRAM", "HOST", *before, *last)


def row_cells(alike: Alike, seen: Seen, *, has_before: bool) -> tuple[str, ...]:
    """Return one row; all of it is fit for a terminal."""
    when = time_text(seen.first_ns)[:19].replace("T", " ")
    first = (when, str(seen.times), _flow_text(alike), _program_text(alike), _host_text(alike))
    one, other = compared(alike.before, alike.outcomes)
    if one is None:
        return (*first, "-", outcome_text(other)) if has_before else (*first, outcome_text(other))
    return (*first, outcome_text(one), outcome_text(other))


def outcome_text(outcome: Outcome) -> str:
    """Return what became of a flow, and why, as in ``allow: web``."""
    action = outcome.action
    if outcome.verdict is not None and action == "ask":
        return f"ask ({outcome.reason}: {outcome.verdict})"
    if outcome.rule is None:
        return f"{action} ({shown(outcome.reason)})"
    why = "" if outcome.reason == "rule" else f" ({outcome.reason})"
    entry = "" if outcome.entry is None else f" [{shown(outcome.entry)}]"
    return f"{action}: {shown(outcome.rule)}{why}{entry}"


def summary(totals: Totals, ruleset: Ruleset, against: Ruleset | None) -> Iterator[str]:
    """Yield the counts of all flows, in words."""
    if against is not None:
        yield from _comparison(totals, "by the others")
    elif totals.differing or totals.other_rule:
        yield from _comparison(totals, "than recorded")
    titles = ("", "") if against is None else ("rules: ", "against: ")
    for at, (title, each) in enumerate(zip(titles, (ruleset, against), strict=True)):
        if each is None or at >= len(totals.actions):
            continue
        yield f"{title}{counted(totals.flows, 'flow')}: {_actions_text(totals.actions[at])}"
        for (reason, rule), number in totals.rules[at].most_common():
            yield f"  {number:>9,}  {_rule_text(reason, rule)}"
        unused = _unused(each, totals.rules[at])
        if unused:
            yield f"  decided nothing: {', '.join(map(shown, unused))}"
    if totals.left_out:
        yield f"{counted(totals.left_out, 'flow')} of further kinds in no row above (--rows)"


def notes_lines(notes: Notes) -> Iterator[str]:
    """Yield how much was read."""
    said = [f"{number:,} {what}" for what, number in notes.counts.items()]
    if said:
        yield f"read: {', '.join(said)}"


def document(
    totals: Totals, notes: Notes, ruleset: Ruleset, against: Ruleset | None, clients: str | None
) -> _Json:
    """Return all of it as JSON data. Texts are as they came."""
    sides = [("rules", ruleset)] if against is None else [("rules", ruleset), ("against", against)]
    return {
        "flows": totals.flows,
        "differing": totals.differing,
        "decided_alike_by_another_rule": totals.other_rule,
        "changes": [
            {"from": one, "to": other, "flows": number}
            for (one, other), number in totals.changes.most_common()
        ],
        "summary": {name: _side_json(totals, at, each) for at, (name, each) in enumerate(sides)},
        "rows": [_row_json(alike, seen) for alike, seen in totals.in_order()],
        "flows_in_no_row": totals.left_out,
        "addresses_of_this_machine": clients,
        "read": dict(notes.counts),
        "problems": list(notes.lines()),
    }


def _comparison(totals: Totals, than: str) -> Iterator[str]:
    yield f"{totals.differing:,} of {counted(totals.flows, 'flow')} decided otherwise {than}"
    for (one, other), number in totals.changes.most_common():
        yield f"  {number:>9,}  {one} -> {other}"
    if totals.other_rule:
        yield f"  {totals.other_rule:>9,}  decided alike, by another rule"


def _actions_text(actions: Counter[str]) -> str:
    return ", ".join(f"{each} {actions[each]:,}" for each in ACTIONS if actions[each]) or "none"


def _rule_text(reason: str, rule: str | None) -> str:
    if rule is None:
        return f"no rule: {shown(reason)}" if is_by_fallback(reason) else shown(reason)
    return shown(rule) if reason == "rule" else f"{shown(rule)} ({shown(reason)})"


def _unused(ruleset: Ruleset, rules: Mapping[tuple[str, str | None], int]) -> list[str]:
    used = {rule for _, rule in rules}
    return [rule.name for rule in ruleset.rules if rule.enabled and rule.name not in used]


def _flow_text(alike: Alike) -> str:
    if isinstance(alike.proto, Unknown):
        return f"cannot be read: {shown(alike.proto.reason)}"
    place = alike.daddr or ""
    if isinstance(alike.dport, int):
        place = f"[{place}]:{alike.dport}" if ":" in place else f"{place}:{alike.dport}"
    elif alike.dport is not None:
        place = f"{place} {alike.dport}"
    return f"{alike.proto} {place}"


def _program_text(alike: Alike) -> str:
    program = alike.program
    if program == NOT_SAID:  # of all of them: that is said once, above
        return "-"
    return f"({shown(program.reason)})" if isinstance(program, Unknown) else shown(program)


def _host_text(alike: Alike) -> str:
    names: Sequence[str] = alike.names[:_NAMES_SHOWN]
    text = " or ".join(map(shown, names)) or "-"
    more = len(alike.names) - len(names)
    return f"{text} or {counted(more, 'other')}" if more else text


def _side_json(totals: Totals, at: int, ruleset: Ruleset) -> _Json:
    has_any = at < len(totals.actions)
    actions = totals.actions[at] if has_any else Counter[str]()
    rules = totals.rules[at] if has_any else Counter[tuple[str, str | None]]()
    return {
        "actions": {each: actions[each] for each in ACTIONS if actions[each]},
        "rules": [
            {"rule": rule, "reason": reason, "flows": number}
            for (reason, rule), number in rules.most_common()
        ],
        "decided_nothing": _unused(ruleset, rules),
    }


def _row_json(alike: Alike, seen: Seen) -> _Json:
    one, other = compared(alike.before, alike.outcomes)
    row: _Json = {
        "first": time_text(seen.first_ns),
        "times": seen.times,
        "proto": _value(alike.proto),
        "daddr": alike.daddr,
        "dport": alike.dport,
        "program": _value(alike.program),
        "names": list(alike.names),
        "differs": one is not None and one.action != other.action,
        "recorded": None if alike.before is None else _outcome_json(alike.before),
        "rules": _outcome_json(alike.outcomes[0]),
    }
    if len(alike.outcomes) > 1:
        row["against"] = _outcome_json(alike.outcomes[1])
    return row


def _outcome_json(outcome: Outcome) -> _Json:
    said: _Json = {"action": outcome.action, "rule": outcome.rule, "reason": outcome.reason}
    if outcome.entry is not None:
        said["entry"] = outcome.entry
    if outcome.verdict is not None:
        said["verdict"] = outcome.verdict
    return said


def _value(value: str | Unknown) -> str | _Json:
    return {"unknown": value.reason} if isinstance(value, Unknown) else value
