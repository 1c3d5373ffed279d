"""Rules: the first one whose every condition matches decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
from nfsnitch.core.timed import ExpiryCondition, ScheduleCondition, Timed
from nfsnitch.core.unknown import Unknown

_TIMED = (ScheduleCondition, ExpiryCondition)
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
    _timed: tuple[Timed, ...] = field(init=False, repr=False, compare=False)
    """All conditions that look at the clock."""
    asks_script: bool = field(init=False, repr=False, compare=False)
    """Whether a rule wants to know which script an interpreter runs."""
    asks_identity: bool = field(init=False, repr=False, compare=False)
    """Whether a rule wants to know which binary a program is."""

    def __post_init__(self) -> None:
        """Look once through the rules for what has to be known of them all."""
        in_force = (rule for rule in self.rules if rule.enabled)
        conditions = [each for rule in in_force for each in rule.conditions]
        timed = tuple(each for each in conditions if isinstance(each, _TIMED))
        object.__setattr__(self, "_timed", timed)
        asks_script = any(each.field == SCRIPT_FIELD for each in conditions)
        object.__setattr__(self, "asks_script", asks_script)
        asks_identity = any(each.field in _IDENTITY for each in conditions)
        object.__setattr__(self, "asks_identity", asks_identity)

    def next_change_ns(self, now: Instant) -> int | None:
        """Return the next moment at which the rules may say something else by themselves.

        That is when an hour of a schedule begins or ends or a rule expires, in ns of the wall clock
        since 1970 UTC; it lies after *now*. None: never. It is only *may*: the rules need not say
        anything else then, and after it one has to ask again. If the clock is set, too.
        """
        changes = (each.next_change_ns(now) for each in self._timed)
        return min((each for each in changes if each is not None), default=None)

    def rule_on(self, case: Case) -> Ruling:
        """Return what the first matching rule, or else the default, says.

        A rule that depends on which binary a program is, while that is not known, decides as well:
        `Action.ASK` while it is pending (nobody is asked: it is waited for), else `Action.DENY`,
        both with `Reason.UNIDENTIFIED`. To go on to the next rule might let out what this one
        was to refuse.
        """
        if self.asks_identity and isinstance(case.owner, Process):
            return self._rule_on_program(case)
        for rule in self.rules:
            for condition in rule.conditions:
                if not condition.matches(case):
                    break
            else:
                return Ruling(rule.action, Reason.RULE, rule.name)
        return self.fallback(case.owner)

    def _rule_on_program(self, case: Case) -> Ruling:
        for rule, mismatch in self.mismatches(case):
            if mismatch is None:
                return Ruling(rule.action, Reason.RULE, rule.name)
            lacking = rule.lacks(case) if mismatch in _IDENTITY else None
            if lacking is not None:
                action = Action.ASK if isinstance(lacking, Pending) else Action.DENY
                return Ruling(action, Reason.UNIDENTIFIED, rule.name)
        return self.fallback(case.owner)

    def fallback(self, owner: Owner) -> Ruling:
        """Return what holds for *owner* where no rule matches."""
        if isinstance(owner, Unknown):
            return Ruling(self.unattributed, Reason.UNATTRIBUTED, None)
        return Ruling(self.default, Reason.DEFAULT, None)

    def mismatches(self, case: Case) -> Iterator[tuple[Rule, str | None]]:
        """Yield each rule with its first mismatching field, up to the one that decides.

        That is one that matches (None), or one that depends on what is not known of the program.
        """
        for rule in self.rules:
            mismatch = rule.first_mismatch(case)
            yield rule, mismatch
            if mismatch is None or (mismatch in _IDENTITY and rule.lacks(case)):
                return
