"""Which conditions leave nothing for others: whether one holds wherever another does.

All answers are one-sided. *True* is sure; *False* means that it is not so or cannot be told, as of
two regular expressions. So a rule is called shadowed only if it surely is.

A condition of a kind that is not known here is compared with `==` alone. One that can tell more has
a method ``covers(other) -> bool``, which says whether it surely holds wherever *other* holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from operator import itemgetter
from typing import Any, Protocol, runtime_checkable

from nfsnitch.core.conditions import (
    OwnerCondition,
    OwnerKind,
    ParentCondition,
    ValueCondition,
    read_family,
    read_proto,
)
from nfsnitch.core.flow import Family
from nfsnitch.core.pattern import Paths, Regexes
from nfsnitch.core.ranges import Addresses, Ports
from nfsnitch.core.rule import Condition

_MAX_PORT = 65_535
_MAX_PROTO = 255
_WILDCARDS = "*?[\\"
_ADDRESS_BITS = (32, 128)

Ranges = Sequence[tuple[Any, Any]]
"""First and last of each; disjoint."""


@runtime_checkable
class Covering(Protocol):
    """A condition that can compare itself with others."""

    def covers(self, other: Condition) -> bool:
        """Whether it surely holds wherever *other* holds."""


def all_cover(wider: Iterable[Condition], narrower: Sequence[Condition]) -> bool:
    """Whether *wider* surely all hold wherever all of *narrower* hold."""
    return all(any(covers(each, other) for other in narrower) for each in wider)


def covers(wider: Condition, narrower: Condition) -> bool:
    """Whether *wider* surely holds wherever *narrower* holds."""
    if wider is narrower or wider == narrower:
        return True
    if isinstance(wider, Covering):
        return wider.covers(narrower)
    if isinstance(wider, ValueCondition) and isinstance(narrower, ValueCondition):
        return wider.read is narrower.read and _value_covers(wider, narrower)
    if isinstance(wider, OwnerCondition) and isinstance(narrower, OwnerCondition):
        return _kinds(narrower) <= _kinds(wider)
    return (
        isinstance(wider, ParentCondition)
        and isinstance(narrower, ParentCondition)
        and _parent_covers(wider, narrower)
    )


def never_holds(condition: Condition) -> bool:
    """Whether *condition* surely never holds: its ``not:`` leaves nothing out."""
    if isinstance(condition, OwnerCondition):
        return not _kinds(condition)
    return isinstance(condition, ValueCondition) and condition.negated and _is_everything(condition)


def never_both(one: Condition, other: Condition) -> bool:
    """Whether the two surely never hold together, though each may hold by itself."""
    if not isinstance(one, ValueCondition) or not isinstance(other, ValueCondition):
        return False
    if one.read is not other.read:
        return False
    if one.negated or other.negated:
        positive, negative = (other, one) if one.negated else (one, other)
        return not positive.negated and includes(negative.wanted, positive.wanted)
    return disjoint(one.wanted, other.wanted)


def includes(larger: Container[Any], smaller: Container[Any]) -> bool:
    """Whether all that is in *smaller* is surely in *larger*."""
    if isinstance(smaller, frozenset):
        return all(each in larger for each in smaller)
    if isinstance(larger, Paths) and isinstance(smaller, Paths):
        globs = (_glob_included(glob, larger) for glob in smaller.globs)
        return all(path in larger for path in smaller.exact) and all(globs)
    if isinstance(larger, Regexes) and isinstance(smaller, Regexes):
        return set(smaller.sources) <= set(larger.sources)
    pairs = zip(_ranges(larger), _ranges(smaller), strict=True)
    return (
        type(larger) is type(smaller)
        and _has_ranges(larger)
        and all(all(_has_range(many, each) for each in few) for many, few in pairs)
    )


def disjoint(one: Container[Any], other: Container[Any]) -> bool:
    """Whether surely nothing is in both."""
    for some, rest in ((one, other), (other, one)):
        if isinstance(some, frozenset):
            return not any(each in rest for each in some)
        if isinstance(some, Paths) and not some.globs:
            return not any(each in rest for each in some.exact)
    if type(one) is not type(other) or not _has_ranges(one):
        return False
    families = zip(_ranges(one), _ranges(other), strict=True)
    return not any(_has_part(many, each) for few, many in families for each in few)


def _value_covers(wider: ValueCondition[Any], narrower: ValueCondition[Any]) -> bool:
    if not wider.negated:
        return not narrower.negated and includes(wider.wanted, narrower.wanted)
    if narrower.negated:
        return includes(narrower.wanted, wider.wanted)
    return disjoint(wider.wanted, narrower.wanted)


def _kinds(condition: OwnerCondition) -> set[OwnerKind]:
    """Return the kinds for which it holds; an unknown owner may be of any kind."""
    named = {each for each in OwnerKind if each in condition.wanted}
    return set(OwnerKind) - named - {OwnerKind.UNKNOWN} if condition.negated else named


def _parent_covers(wider: ParentCondition, narrower: ParentCondition) -> bool:
    if wider.negated is not narrower.negated:
        return False
    larger, smaller = (narrower, wider) if wider.negated else (wider, narrower)
    return includes(larger.wanted, smaller.wanted)


def _is_everything(condition: ValueCondition[Any]) -> bool:
    """Whether all that the condition's reader can find is wanted."""
    wanted = condition.wanted
    if isinstance(wanted, Paths):
        return bool({"**", "/**"} & set(wanted.globs))
    if isinstance(wanted, Ports):
        return _ranges(wanted) == ([(0, _MAX_PORT)],)
    if isinstance(wanted, Addresses):
        whole = ([(bytes(bits // 8), b"\xff" * (bits // 8))] for bits in _ADDRESS_BITS)
        return _ranges(wanted) == tuple(whole)
    finite: dict[Any, Iterable[Any]] = {read_family: Family, read_proto: range(_MAX_PROTO + 1)}
    values = finite.get(condition.read)
    return values is not None and all(each in wanted for each in values)


def _glob_included(glob: str, larger: Paths) -> bool:
    """Whether all that *glob* matches is surely in *larger*."""
    if glob in larger.globs:
        return True
    beginning = _literal_beginning(glob)
    # What ends in ** and has no other wildcard matches all that begins alike.
    return any(
        each.endswith("**") and beginning.startswith(prefix)
        for each in larger.globs
        if len(prefix := _literal_beginning(each)) == len(each.rstrip("*"))
    )


def _literal_beginning(glob: str) -> str:
    at = next((at for at, each in enumerate(glob) if each in _WILDCARDS), len(glob))
    return glob[:at]


def _has_ranges(wanted: Container[Any]) -> bool:
    return isinstance(wanted, Ports | Addresses)


def _ranges(wanted: Container[Any]) -> tuple[Ranges, ...]:
    """Return the ranges of each family (of ports: of the only one); none of other sets."""
    if isinstance(wanted, Ports):
        return (list(zip(wanted.firsts, wanted.lasts, strict=True)),)
    if isinstance(wanted, Addresses):
        return (
            list(zip(wanted.firsts4, wanted.lasts4, strict=True)),
            list(zip(wanted.firsts6, wanted.lasts6, strict=True)),
        )
    return ()


def _has_range(ranges: Ranges, wanted: tuple[Any, Any]) -> bool:
    """Whether all of *wanted* is in one of *ranges*: neighbours are merged, so it must be one."""
    at = bisect_right(ranges, wanted[0], key=itemgetter(0)) - 1
    return at >= 0 and wanted[1] <= ranges[at][1]


def _has_part(ranges: Ranges, wanted: tuple[Any, Any]) -> bool:
    """Whether any of *wanted* is in one of *ranges*."""
    at = bisect_right(ranges, wanted[1], key=itemgetter(0)) - 1
    return at >= 0 and wanted[0] <= ranges[at][1]
