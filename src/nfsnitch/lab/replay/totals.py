"""What came of a replay: alike flows in one row, and counts of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nfsnitch.core.decision import Reason
from nfsnitch.core.flow import Flow, address_text
from nfsnitch.core.owner import Forwarded, Kernel, Owner, Process
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.case import Outcome, Row

MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Alike:
    """What flows have in common that are one row; all of it as it came, and hostile."""

    proto: str | Unknown
    daddr: str | None
    dport: int | str | None
    """The type of an ICMP message in words; None: neither."""
    program: str | Unknown
    names: tuple[str, ...]
    """By which the destination was known; more than one: which is meant, is ambiguous."""
    before: Outcome | None
    outcomes: tuple[Outcome, ...]


@dataclass(slots=True)
class Seen:
    """When, and how often."""

    first_ns: int
    """Wall clock."""
    times: int = 1


@dataclass(slots=True)
class Totals:
    """All rows, within bounds, and all counts."""

    most_rows: int = MOST_ROWS
    only_differences: bool = False
    rows: dict[Alike, Seen] = field(default_factory=dict)
    left_out: int = 0
    """Flows that there was no row for any more."""
    flows: int = 0
    differing: int = 0
    """Flows of which the outcome is another one than before, or than by the other rules."""
    other_rule: int = 0
    """Flows that are decided alike, by another rule."""
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Action before and after → how many flows."""
    actions: list[Counter[str]] = field(default_factory=list)
    """By the rules, and by the others: action → how many flows."""
    rules: list[Counter[tuple[str, str | None]]] = field(default_factory=list)
    """The same: reason and rule → how many flows."""

    def add(self, row: Row) -> None:
        """Take a flow that has been decided."""
        self.flows += 1
        while len(self.actions) < len(row.outcomes):
            self.actions.append(Counter())
            self.rules.append(Counter())
        for at, outcome in enumerate(row.outcomes):
            self.actions[at][outcome.action] += 1
            self.rules[at][outcome.reason, outcome.rule] += 1
        differs = self._compare(*compared(row.before, row.outcomes))
        if differs or not self.only_differences:
            self._add_row(row)

    def in_order(self) -> list[tuple[Alike, Seen]]:
        """Return the rows in the order of time."""
        return sorted(self.rows.items(), key=lambda row: row[1].first_ns)

    def _compare(self, one: Outcome | None, other: Outcome) -> bool:
        if one is None:
            return False
        if one.action != other.action:
            self.changes[one.action, other.action] += 1
            self.differing += 1
            return True
        # What was asked about was recorded with the rule that its answer made.
        is_answered = one.action == "ask" and one.verdict is not None
        self.other_rule += not is_answered and _rule(one) != _rule(other)
        return False

    def _add_row(self, row: Row) -> None:
        alike = _alike(row)
        seen = self.rows.get(alike)
        if seen is not None:
            seen.times += 1
            seen.first_ns = min(seen.first_ns, row.wall_ns)
        elif len(self.rows) < self.most_rows:
            self.rows[alike] = Seen(row.wall_ns)
        else:
            self.left_out += 1


def compared(
    before: Outcome | None, outcomes: tuple[Outcome, ...]
) -> tuple[Outcome | None, Outcome]:
    """Return which outcome is compared with which: two rulesets, or what was recorded with one."""
    return (before, outcomes[0]) if len(outcomes) == 1 else (outcomes[0], outcomes[1])


def _rule(outcome: Outcome) -> str:
    return outcome.rule or outcome.reason


def _alike(row: Row) -> Alike:
    proto, daddr, dport = _where(row.flow)
    names = tuple(each.text for each in row.names.names)
    return Alike(proto, daddr, dport, program_of(row.owner), names, row.before, row.outcomes)


def _where(flow: Flow | Unknown) -> tuple[str | Unknown, str | None, int | str | None]:
    if isinstance(flow, Unknown):
        return flow, None, None
    if flow.icmp is not None:
        return flow.proto_name, address_text(flow.daddr), f"type {flow.icmp.type}"
    port = None if isinstance(flow.dport, Unknown) else flow.dport
    return flow.proto_name, address_text(flow.daddr), port


def program_of(owner: Owner) -> str | Unknown:
    """Return what is told of an owner: the path of its program, or why there is none."""
    if isinstance(owner, Process):
        path = owner.exe.path
        return owner.comm if isinstance(path, Unknown) else path
    if isinstance(owner, Kernel | Forwarded):
        return Unknown(f"{type(owner).__name__.lower()}: {owner.reason}")
    return owner


def is_by_fallback(reason: str) -> bool:
    """Whether no rule decided."""
    return reason in {Reason.DEFAULT, Reason.UNATTRIBUTED}
