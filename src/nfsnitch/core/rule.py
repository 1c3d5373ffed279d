"""Rules: the first one whose every condition matches decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import (
    CHANGED_FIELD,
    PACKAGE_FIELD,
    SCRIPT_FIELD,
    SHA256_FIELD,
    DisabledCondition,
    read_changed,
    read_package,
    read_sha256,
)
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.identity import Pending
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.settings import Settings
from nfsnitch.core.timed import DeadlineCondition, ExpiryCondition, ScheduleCondition, Timed
from nfsnitch.core.unknown import Unknown

_TIMED = (ScheduleCondition, ExpiryCondition, DeadlineCondition)
_IDENTITY = {
    SHA256_FIELD: read_sha256,
    CHANGED_FIELD: read_changed,
    PACKAGE_FIELD: read_package,
}
"""Fields whose value may be pending."""


class Condition(Protocol):
    """One field of a rule.

    A condition never matches what is `Unknown`, also not when it is negated: a rule says what is
    known of a flow, and an unknown program is neither curl nor "not curl".
    """

    @property
    def field(self) -> str:
        """The field's name in the rule file."""

    def matches(self, case: Case) -> bool:
        """Whether the field's condition holds in this case."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions that must all hold, and what then happens."""

    name: str
    action: Action
    conditions: tuple[Condition, ...]
    origin: str
    """Where it was read, ``file:line``."""
    note: str | None = None
    """What its author says of it."""

    @property
    def enabled(self) -> bool:
        """Whether it is in force at all."""
        return not any(isinstance(each, DisabledCondition) for each in self.conditions)

    @property
    def expires_ns(self) -> int | None:
        """When it ceases to hold (ns since 1970 UTC); None if it does not."""
        ends = (each.until_ns for each in self.conditions if isinstance(each, ExpiryCondition))
        return min(ends, default=None)

    def first_mismatch(self, case: Case) -> str | None:
        """Return the field of the first condition that does not hold; None if the rule matches."""
        for condition in self.conditions:
            if not condition.matches(case):
                return condition.field
        return None

    def lacks(self, case: Case) -> Unknown | None:
        """Return what alone keeps the rule from being decided: which binary it is, is not known.

        That is a value that is pending, or a hash that cannot be told while the rule depends on it.
        None if the rule matches or does not match by what is known.
        """
        lacking: Unknown | None = None
        for condition in self.conditions:
            if condition.matches(case):
                continue
            read = _IDENTITY.get(condition.field)
            value = None if read is None else read(case)
            if not isinstance(value, Unknown):
                return None
            if not isinstance(value, Pending) and not _lacks_hash(condition.field, case):
                return None
            if not isinstance(lacking, Pending):
                lacking = value
        return lacking


def _lacks_hash(field: str, case: Case) -> bool:
    """Whether *field* depends on the hash of a program, and that cannot be told."""
    if field == PACKAGE_FIELD or not isinstance(case.owner, Process):
        return False
    return isinstance(case.owner.identity.sha256, Unknown)


class Ruling(NamedTuple):
    """What the rules say of one flow."""

    action: Action
    reason: Reason
    rule: str | None


class _Traits(NamedTuple):
    """What has to be known of all rules together, so that nobody looks through them again."""

    timed: tuple[Timed, ...] = ()
    """All conditions that look at the clock."""
    asks_script: bool = False
    asks_identity: bool = False

    def __add__(self, other: object) -> _Traits:
        """Return those of both together."""
        if not isinstance(other, _Traits):
            return NotImplemented
        return _Traits(
            self.timed + other.timed,
            self.asks_script or other.asks_script,
            self.asks_identity or other.asks_identity,
        )


def _traits(rules: tuple[Rule, ...]) -> _Traits:
    in_force = (rule for rule in rules if rule.enabled)
    conditions = [each for rule in in_force for each in rule.conditions]
    return _Traits(
        tuple(each for each in conditions if isinstance(each, _TIMED)),
        any(each.field == SCRIPT_FIELD for each in conditions),
        any(each.field in _IDENTITY for each in conditions),
    )


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All rules in force, in order, and what holds where none of them matches."""

    rules: tuple[Rule, ...] = ()
    default: Action = Action.ASK
    """For flows whose owner is known and which no rule matches."""
    unattributed: Action = Action.DENY
    """For flows whose owner is not known and which no rule matches."""
    unanswered: Action = Action.DENY
    """What becomes of a held flow that nobody answers; never `Action.ASK`."""
    ask_timeout_ns: int = 30_000_000_000
    """How long a flow is held for an answer."""
    settings: Settings = field(default_factory=Settings)
    answers: tuple[Rule, ...] = ()
    """Rules that people's answers have made: they decide where all the rest says `Action.ASK`."""
    _of_rules: tuple[tuple[Rule, ...], _Traits] | None = field(
        default=None, repr=False, compare=False
    )
    """Of `rules` alone; None: not looked at yet."""
    _of_all: _Traits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once through the rules for what has to be known of them all."""
        known = self._of_rules
        # `replace` hands on what was known of other rules, too.
        of_rules = known[1] if known and known[0] is self.rules else _traits(self.rules)
        object.__setattr__(self, "_of_rules", (self.rules, of_rules))
        object.__setattr__(self, "_of_all", of_rules + _traits(self.answers))

    def with_answers(self, answers: tuple[Rule, ...]) -> Ruleset:
        """Return the same rules with these answers; the rules are not looked through again."""
        return replace(self, answers=answers)

    @property
    def asks_script(self) -> bool:
        """Whether a rule wants to know which script an interpreter runs."""
        return self._of_all.asks_script

    @property
    def asks_identity(self) -> bool:
        """Whether a rule wants to know which binary a program is."""
        return self._of_all.asks_identity

    def next_change_ns(self, now: Instant) -> int | None:
        """Return the next moment at which the rules may say something else by themselves.

        That is when an hour of a schedule begins or ends or a rule expires, in ns of the wall clock
        since 1970 UTC; it lies after *now*. None: never. It is only *may*: the rules need not say
        anything else then, and after it one has to ask again. If the clock is set, too.
        """
        changes = (each.next_change_ns(now) for each in self._of_all.timed)
        return min((each for each in changes if each is not None), default=None)

    def rule_on(self, case: Case) -> Ruling:
        """Return what the first matching rule, or else the default, says; of `answers`, too.

        A rule that depends on which binary a program is, while that is not known, decides as well:
        `Action.ASK` while it is pending (nobody is asked: it is waited for), else `Action.DENY`,
        both with `Reason.UNIDENTIFIED`. To go on to the next rule might let out what this one
        was to refuse.
        """
        ruling = self._first(self.rules, case) or self.fallback(case.owner)
        is_asked = ruling.action is Action.ASK and ruling.reason is not Reason.UNIDENTIFIED
        if is_asked and self.answers:
            return self._first(self.answers, case) or ruling
        return ruling

    def _first(self, rules: tuple[Rule, ...], case: Case) -> Ruling | None:
        """Return what the first of *rules* says that decides."""
        if self.asks_identity and isinstance(case.owner, Process):
            return _first_on_program(rules, case)
        for rule in rules:
            for condition in rule.conditions:
                if not condition.matches(case):
                    break
            else:
                return Ruling(rule.action, Reason.RULE, rule.name)
        return None

    def fallback(self, owner: Owner) -> Ruling:
        """Return what holds for *owner* where no rule matches."""
        if isinstance(owner, Unknown):
            return Ruling(self.unattributed, Reason.UNATTRIBUTED, None)
        return Ruling(self.default, Reason.DEFAULT, None)

    def mismatches(self, case: Case) -> Iterator[tuple[Rule, str | None]]:
        """Yield each rule with its first mismatching field, up to the one that decides.

        That is one that matches (None), or one that depends on what is not known of the program.
        Where it says `Action.ASK`, or none decides and the fallback does, the answers come next.
        """
        asks = self.fallback(case.owner).action is Action.ASK
        for rule, mismatch in _mismatches(self.rules, case):
            yield rule, mismatch
            if mismatch is None:
                asks = rule.action is Action.ASK
            elif mismatch in _IDENTITY and rule.lacks(case):
                asks = False
        if asks:
            yield from _mismatches(self.answers, case)


def _mismatches(rules: tuple[Rule, ...], case: Case) -> Iterator[tuple[Rule, str | None]]:
    for rule in rules:
        mismatch = rule.first_mismatch(case)
        yield rule, mismatch
        if mismatch is None or (mismatch in _IDENTITY and rule.lacks(case)):
            return


def _first_on_program(rules: tuple[Rule, ...], case: Case) -> Ruling | None:
    for rule, mismatch in _mismatches(rules, case):
        if mismatch is None:
            return Ruling(rule.action, Reason.RULE, rule.name)
        lacking = rule.lacks(case) if mismatch in _IDENTITY else None
        if lacking is not None:
            action = Action.ASK if isinstance(lacking, Pending) else Action.DENY
            return Ruling(action, Reason.UNIDENTIFIED, rule.name)
    return None
