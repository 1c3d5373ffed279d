"""Rules: the first one whose every condition matches decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nfsnitch.core.case import Case
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.owner import Owner
from nfsnitch.core.unknown import Unknown


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

    def first_mismatch(self, case: Case) -> str | None:
        """Return the field of the first condition that does not hold; None if the rule matches."""
        for condition in self.conditions:
            if not condition.matches(case):
                return condition.field
        return None


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

    def rule_on(self, case: Case) -> Ruling:
        """Return what the first matching rule, or else the default, says."""
        for rule in self.rules:
            for condition in rule.conditions:
                if not condition.matches(case):
                    break
            else:
                return Ruling(rule.action, Reason.RULE, rule.name)
        return self.fallback(case.owner)

    def fallback(self, owner: Owner) -> Ruling:
        """Return what holds for *owner* where no rule matches."""
        if isinstance(owner, Unknown):
            return Ruling(self.unattributed, Reason.UNATTRIBUTED, None)
        return Ruling(self.default, Reason.DEFAULT, None)

    def mismatches(self, case: Case) -> Iterator[tuple[Rule, str | None]]:
        """Yield each rule with its first mismatching field, up to the one that matches (None)."""
        for rule in self.rules:
            field = rule.first_mismatch(case)
            yield rule, field
            if field is None:
                return
