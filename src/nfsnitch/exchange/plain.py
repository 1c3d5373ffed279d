"""Rules as the texts that a rule file has for them; what groups stood for is written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from typing import Any

from nfsnitch.adapters.rulefile.time_values import DAYS
from nfsnitch.core import conditions as core
from nfsnitch.core.conditions import (
    AnyValueCondition,
    DisabledCondition,
    OwnerCondition,
    ParentCondition,
    ValueCondition,
)
from nfsnitch.core.flow import BYPASS_NAMES, PROTOCOL_NAMES, Family
from nfsnitch.core.name_conditions import HostCondition, ListCondition
from nfsnitch.core.pattern import Paths, Regexes
from nfsnitch.core.ranges import Addresses, Ports
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.schedule import MINUTES_OF_DAY, MINUTES_OF_WEEK, Weekly
from nfsnitch.core.timed import ExpiryCondition, ScheduleCondition
from nfsnitch.exchange.globs import escaped

_NS_OF_SECOND = 10**9
_USUAL_NAMES = {"user": "uid", "group": "gid"}
"""Names were looked up when the file was read: what is left is numbers."""
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_S = 253_402_300_799
"""The end of the year 9999, the last that can be written."""
_UNIT_ESCAPE = re.compile(r"\\\\(?=x[0-9a-f]{2})")


class NotPlainError(ValueError):
    """A condition that no rule file can have: one that an answer has made; why, for people."""


@dataclass(frozen=True, slots=True)
class PlainField:
    """One field of a rule."""

    values: tuple[str, ...]
    """Any of these; none at all: nothing on this machine is what was meant."""
    negated: bool = False
    """None of them."""


@dataclass(frozen=True, slots=True)
class PlainRule:
    """One rule."""

    rule: Rule
    fields: Mapping[str, PlainField] = field(default_factory=dict)
    expires: str | None = None

    @property
    def never_matches(self) -> bool:
        """Whether a field names nothing that there is."""
        return any(not each.values and not each.negated for each in self.fields.values())


def plain(rule: Rule) -> PlainRule:
    """Return *rule* as texts.

    Raises:
        NotPlainError: it has a condition that no file can have.

    """
    fields: dict[str, PlainField] = {}
    expires: list[int] = []
    for condition in rule.conditions:
        if isinstance(condition, DisabledCondition):
            continue
        if isinstance(condition, ExpiryCondition):
            expires.append(condition.until_ns)
            continue
        name = _USUAL_NAMES.get(condition.field, condition.field)
        found = _field(condition)
        fields[name] = _both(fields[name], found) if name in fields else found
    return PlainRule(rule, fields, _moment(min(expires)) if expires else None)


def _field(condition: Condition) -> PlainField:
    if isinstance(condition, ValueCondition | AnyValueCondition | ParentCondition):
        return PlainField(tuple(_texts(condition)), condition.negated)
    if isinstance(condition, OwnerCondition):
        kinds = tuple(kind.value for kind in core.OwnerKind if kind in condition.wanted)
        return PlainField(kinds, condition.negated)
    if isinstance(condition, ScheduleCondition):
        return PlainField(tuple(_spans(condition.wanted)), condition.negated)
    if isinstance(condition, HostCondition):
        below = (f"*.{name}" for name in condition.wanted.below)
        values = sorted([*condition.wanted.exact, *below], key=_by_domain)
        return PlainField(tuple(values), condition.negated)
    if isinstance(condition, ListCondition):
        names = tuple(each.definition.name for each in condition.lists)
        return PlainField(names, condition.negated)
    raise NotPlainError(f"{condition.field} is of an answer for one process or some time alone")


def _both(one: PlainField, other: PlainField) -> PlainField:
    """Return what both numbers of users, say, leave (``uid`` and ``user`` of one rule)."""
    if one.negated and other.negated:
        return PlainField(tuple(dict.fromkeys((*one.values, *other.values))), negated=True)
    if not one.negated and not other.negated:
        return PlainField(tuple(each for each in one.values if each in other.values))
    positive, negative = (other, one) if one.negated else (one, other)
    return PlainField(tuple(each for each in positive.values if each not in negative.values))


def _texts(
    condition: ValueCondition[Any] | AnyValueCondition[Any] | ParentCondition,
) -> Iterator[str]:
    wanted: Container[Any] = condition.wanted
    if isinstance(wanted, Paths):
        yield from (escaped(path) for path in sorted(wanted.exact))
        yield from wanted.globs
    elif isinstance(wanted, Regexes):
        yield from wanted.sources
    elif isinstance(wanted, Ports):
        yield from port_texts(wanted)
    elif isinstance(wanted, Addresses):
        yield from address_texts(wanted)
    elif isinstance(wanted, frozenset):
        write = _WORDS.get(condition.field, str)
        yield from (write(each) for each in sorted(wanted))
    else:
        raise NotPlainError(f"{condition.field} has values that nobody knows how to write")


def port_texts(ports: Ports) -> Iterator[str]:
    """Yield ports and ranges of them."""
    for first, last in zip(ports.firsts, ports.lasts, strict=True):
        yield str(first) if first == last else f"{first}-{last}"


def address_texts(addresses: Addresses) -> Iterator[str]:
    """Yield addresses, blocks, and ranges that are no block."""
    ends = (
        *zip(addresses.firsts4, addresses.lasts4, strict=True),
        *zip(addresses.firsts6, addresses.lasts6, strict=True),
    )
    for first, last in ends:
        low, high = ip_address(first), ip_address(last)
        if low == high:
            yield str(low)
            continue
        blocks = list(networks(first, last))
        yield blocks[0] if len(blocks) == 1 else f"{low}-{high}"


def networks(first: bytes, last: bytes) -> Iterator[str]:
    """Yield the blocks that a range of packed addresses consists of."""
    low, high = ip_address(first), ip_address(last)
    if isinstance(low, IPv4Address) and isinstance(high, IPv4Address):
        yield from map(str, summarize_address_range(low, high))
    if isinstance(low, IPv6Address) and isinstance(high, IPv6Address):
        yield from map(str, summarize_address_range(low, high))


def _spans(wanted: Weekly) -> Iterator[str]:
    """Yield the hours of each day, days that have the same ones together."""
    by_hours: dict[tuple[str, ...], list[str]] = {}
    for at, day in enumerate(DAYS):
        hours = tuple(_hours(wanted, at * MINUTES_OF_DAY))
        if hours:
            by_hours.setdefault(hours, []).append(day)
    for hours, days in by_hours.items():
        if hours == ("00:00-24:00",):
            yield ",".join(days)
        else:
            yield f"{','.join(days)} {','.join(hours)}"


def _hours(wanted: Weekly, midnight: int) -> Iterator[str]:
    """Yield the stretches of the day that begins at *midnight* (minute of the week)."""
    at, end = midnight, midnight + MINUTES_OF_DAY
    while at < end:
        left = wanted.minutes_to_change(at)
        stop = min(end, at + (left or MINUTES_OF_WEEK))
        if at in wanted:
            yield f"{_clock(at - midnight)}-{_clock(stop - midnight)}"
        at = stop


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _moment(until_ns: int) -> str:
    moment_s = min(max(until_ns // _NS_OF_SECOND, 0), _LATEST_S)
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _proto(number: int) -> str:
    return (PROTOCOL_NAMES | BYPASS_NAMES).get(number, str(number))


def _family(family: Family) -> str:
    return family.name.lower()


def _changed(changed: bool) -> str:  # noqa: FBT001  it is a value
    return "true" if changed else "false"


def _by_domain(host: str) -> tuple[str, bool]:
    return host.removeprefix("*."), host.startswith("*.")


_WORDS: dict[str, Callable[[Any], str]] = {
    "proto": _proto,
    "family": _family,
    core.CHANGED_FIELD: _changed,
}
