"""The one table of rule fields. A new field is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from nfsnitch.adapters.rulefile import values
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core import conditions as core
from nfsnitch.core.pattern import paths, regexes
from nfsnitch.core.ranges import addresses, ports
from nfsnitch.core.rule import Condition

T = TypeVar("T")


class Subject(Enum):
    """What a field speaks of."""

    PROCESS = auto()
    """The process that owns the flow: the field matches no other owner."""
    FLOW = auto()
    OWNER = auto()
    """What kind of owner there is."""


@dataclass(frozen=True, slots=True)
class RuleField:
    """One field that a rule may have."""

    name: str
    subject: Subject
    takes: str
    """What its values are, for messages."""
    parse: Callable[[str, Known], Iterable[Any]]
    """Returns what the text of one value stands for; raises `Refused`."""
    condition: Callable[[Iterable[Any], bool], Condition]
    """Makes the condition of all parsed values; the second argument is whether it is negated."""


def _field(
    name: str,
    subject: Subject,
    takes: str,
    parse: Callable[[str, Known], Iterable[T]],
    condition: Callable[[Iterable[T], bool], Condition],
) -> RuleField:
    """Return the field; unlike `RuleField` itself it sees to it that the two functions fit."""
    return RuleField(name, subject, takes, parse, condition)


def _one_of(
    name: str, read: core.Reader[Any], collect: Callable[[Iterable[T]], Container[Any]]
) -> Callable[[Iterable[T], bool], Condition]:
    """Return the maker of conditions that look one value up among those that the rule names."""

    def condition(parsed: Iterable[T], negated: bool) -> Condition:  # noqa: FBT001
        return core.ValueCondition(name, read, collect(parsed), negated)

    return condition


def _kind_of_owner(parsed: Iterable[core.OwnerKind], negated: bool) -> Condition:  # noqa: FBT001
    return core.OwnerCondition("owner", frozenset(parsed), negated)


def _any_ancestor(parsed: Iterable[str], negated: bool) -> Condition:  # noqa: FBT001
    return core.ParentCondition("parent", paths(parsed), negated)


RULE_FIELDS: dict[str, RuleField] = {
    field.name: field
    for field in (
        _field("owner", Subject.OWNER, "unknown or kernel", values.parse_owner, _kind_of_owner),
        _field(
            "family",
            Subject.FLOW,
            "ipv4 or ipv6",
            values.parse_family,
            _one_of("family", core.read_family, frozenset),
        ),
        _field(
            "proto",
            Subject.FLOW,
            "the name or number of a protocol",
            values.parse_proto,
            _one_of("proto", core.read_proto, frozenset),
        ),
        _field(
            "dport",
            Subject.FLOW,
            "a port, a range of ports or the name of a service",
            values.parse_dport,
            _one_of("dport", core.read_dport, ports),
        ),
        _field(
            "daddr",
            Subject.FLOW,
            "an address, a block, a range or the name of a group",
            values.parse_daddr,
            _one_of("daddr", core.read_daddr, addresses),
        ),
        _field(
            "uid",
            Subject.PROCESS,
            "the number of a user",
            values.parse_uid,
            _one_of("uid", core.read_uid, frozenset),
        ),
        _field(
            "user",
            Subject.PROCESS,
            "the name of a user",
            values.parse_user,
            _one_of("user", core.read_uid, frozenset),
        ),
        _field(
            "exe",
            Subject.PROCESS,
            "an absolute path or a glob",
            values.parse_path,
            _one_of("exe", core.read_exe, paths),
        ),
        _field(
            "parent",
            Subject.PROCESS,
            "an absolute path or a glob",
            values.parse_path,
            _any_ancestor,
        ),
        _field(
            "args",
            Subject.PROCESS,
            "a regular expression",
            values.parse_regex,
            _one_of("args", core.read_args, regexes),
        ),
    )
}
"""By name; a rule tries them in this order, the cheap ones first."""
