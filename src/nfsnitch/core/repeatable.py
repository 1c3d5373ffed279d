"""Which conditions hold again where the program, the destination and the names are the same."""

from __future__ import annotations

from nfsnitch.core import conditions
from nfsnitch.core.name_conditions import HostCondition
from nfsnitch.core.rule import Condition

_KINDS = (
    conditions.OneProcessCondition,
    conditions.ParentCondition,
    conditions.OwnerCondition,
    conditions.DisabledCondition,
    HostCondition,
)
_WITH_READER = (conditions.ValueCondition, conditions.AnyValueCondition)
_READERS = {read for name, read in vars(conditions).items() if name.startswith("read_")}
_READERS.discard(conditions.read_sport)


def is_repeatable(condition: Condition) -> bool:
    """Whether it looks at neither the own port, a list nor the clock."""
    if isinstance(condition, _WITH_READER):
        return condition.read in _READERS
    return isinstance(condition, _KINDS)
