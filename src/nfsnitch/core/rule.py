"""One rule: conditions that must all hold, and what then happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import (
    CHANGED_FIELD,
    PACKAGE_FIELD,
    SHA256_FIELD,
    DisabledCondition,
    read_changed,
    read_package,
    read_sha256,
)
from nfsnitch.core.decision import Action
from nfsnitch.core.identity import Pending
from nfsnitch.core.listing import Entry
from nfsnitch.core.name_conditions import (
    HOST_FIELD,
    LIST_FIELD,
    HostCondition,
    ListCondition,
)
from nfsnitch.core.owner import Process
from nfsnitch.core.timed import ExpiryCondition
from nfsnitch.core.unknown import Unknown

_IDENTITY = {
    SHA256_FIELD: read_sha256,
    CHANGED_FIELD: read_changed,
    PACKAGE_FIELD: read_package,
}
IDENTITY_FIELDS = frozenset(_IDENTITY)
"""Fields whose value may be pending."""
NAME_FIELDS = frozenset({HOST_FIELD, LIST_FIELD})
"""Fields of which it may be impossible to tell whether they hold."""


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


class AtQuestion(StrEnum):
    """What a rule that refuses flows by name does to the DNS question for that name."""

    REFUSE = "refuse"
    """It is answered that there is no such name (NXDOMAIN)."""
    DROP = "drop"
    """It is never answered."""


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
    on_unknown_name: Action | None = None
    """What becomes of a flow where it cannot be told whether a condition on names holds, and all
    others do; None: the rule is passed by. Never `Action.ALLOW`."""
    dns: AtQuestion | None = None
    """What becomes of the question for such a name; None: it is asked."""

    @property
    def enabled(self) -> bool:
        """Whether it is in force at all."""
        return not any(isinstance(each, DisabledCondition) for each in self.conditions)

    @property
    def expires_ns(self) -> int | None:
        """When it ceases to hold (ns since 1970 UTC); None if it does not."""
        ends = (each.until_ns for each in self.conditions if isinstance(each, ExpiryCondition))
        return min(ends, default=None)

    @property
    def asks_names(self) -> bool:
        """Whether it depends on the host's name."""
        return any(isinstance(each, HostCondition | ListCondition) for each in self.conditions)

    def first_mismatch(self, case: Case) -> str | None:
        """Return the field of the first condition that does not hold; None if the rule matches."""
        for condition in self.conditions:
            if not condition.matches(case):
                return condition.field
        return None

    def entry(self, case: Case) -> Entry | None:
        """Return the line of a list by which the rule matches."""
        for condition in self.conditions:
            if isinstance(condition, ListCondition) and not condition.negated:
                return condition.entry(case)
        return None

    def lacks(self, case: Case) -> Unknown | None:
        """Return what alone keeps the rule from being decided: which binary it is, is not known.

        That is a value that is pending, or a hash that cannot be told while the rule depends on it.
        None if the rule matches or does not match by what is known. A name that cannot be told does
        not keep the rule from being looked at, if it would not be passed by for that.
        """
        lacking: Unknown | None = None
        for condition in self.conditions:
            if condition.matches(case):
                continue
            if isinstance(condition, HostCondition | ListCondition):
                if condition.holds(case) is None and self._takes_unknown_names(case):
                    continue
                return None
            read = _IDENTITY.get(condition.field)
            value = None if read is None else read(case)
            if not isinstance(value, Unknown):
                return None
            if not isinstance(value, Pending) and not _lacks_hash(condition.field, case):
                return None
            if not isinstance(lacking, Pending):
                lacking = value
        return lacking

    def _takes_unknown_names(self, case: Case) -> bool:
        return self.on_unknown_name is not None or case.names.may_come

    def lacks_name(self, case: Case) -> bool:
        """Whether a name alone keeps the rule from being decided: every other condition holds."""
        lacking = False
        for condition in self.conditions:
            if condition.matches(case):
                continue
            if not isinstance(condition, HostCondition | ListCondition):
                return False
            if condition.holds(case) is not None:
                return False
            lacking = True
        return lacking


def _lacks_hash(field: str, case: Case) -> bool:
    """Whether *field* depends on the hash of a program, and that cannot be told."""
    if field == PACKAGE_FIELD or not isinstance(case.owner, Process):
        return False
    return isinstance(case.owner.identity.sha256, Unknown)
