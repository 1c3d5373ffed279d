"""Decisions that stand: what the rules say of a program and a destination, and nothing else.

Such a decision need not be made again. The kernel can repeat it for further flows of the same
program to the same destination, by a key that holds nothing but these: see bpf/verdicts.h. Where no
rule looks at the address, or at the port either, it holds for all others as well. What the key does
not hold (arguments, ancestors, names, interfaces, hours …) must not make a difference. It
makes none where each rule that looks at it is passed by for something that is in the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, IntEnum, auto
from itertools import islice
from typing import Any, NamedTuple

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import (
    AnyValueCondition,
    DisabledCondition,
    OwnerCondition,
    ValueCondition,
    read_app,
    read_cgroup,
    read_daddr,
    read_dport,
    read_exe,
    read_family,
    read_gid,
    read_netns,
    read_pod,
    read_proto,
    read_uid,
    read_units,
)
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.name_conditions import ListCondition
from nfsnitch.core.owner import NOT_FORWARDED, Process
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.timed import DeadlineCondition

_OF_KEY = frozenset(
    {
        *(read_exe, read_uid, read_gid, read_netns),
        *(read_cgroup, read_units, read_app, read_pod),
        *(read_daddr, read_dport, read_family, read_proto),
    }
)


_MOST_TRIED = 64
"""Rules that are looked at for whether they would say the same of other destinations."""


class Reach(IntEnum):
    """How much of the destination a decision depends on; what reaches farther is more."""

    DESTINATION = auto()
    """On address and port."""
    PORT = auto()
    """On the port: it is the same at all addresses of that family."""
    ANYWHERE = auto()
    """On neither."""


class Standing(NamedTuple):
    """What the rules say of all flows of a program to a destination, or to others as well."""

    ruling: Ruling
    """Never `Action.ASK`."""
    until_ns: int | None
    """Monotonic; from then on they may say something else. None: while they are in force."""
    reach: Reach = Reach.DESTINATION


def standing(ruleset: Ruleset, case: Case) -> Standing | None:
    """Return what *ruleset* says of every flow that is like this one in program and destination.

    That is the program's file and path, its user, group and network namespace, its cgroup if any
    rule looks at that (`Ruleset.asks_cgroup`), the family of addresses, the protocol, and as much
    of address and port as `Standing.reach` says. None: it depends on something else, or nobody can
    say without asking.
    """
    owner = case.owner
    if not isinstance(owner, Process) or not isinstance(owner.exe.path, str):
        return None
    if case.iface_in is not NOT_FORWARDED:
        return None
    walk = _by_rules(ruleset, case)
    if walk is None:
        return None
    ruling = walk.ruling or ruleset.fallback(owner)
    if ruling.action is not Action.ASK:
        return Standing(ruling, walk.until_ns, walk.reach)
    answered = _walked(ruleset.answers, case)
    if answered is None or answered.ruling is None or answered.ruling.action is Action.ASK:
        return None
    until_ns = _earlier(walk.until_ns, answered.until_ns)
    return Standing(answered.ruling, until_ns, min(walk.reach, answered.reach))


class _Walk(NamedTuple):
    """What came of going through rules up to the first one that decides."""

    ruling: Ruling | None
    """None: none does."""
    until_ns: int | None
    reach: Reach


class _Holds(Enum):
    """Whether a condition holds for all flows that are alike in what is in the key."""

    YES = auto()
    NO = auto()
    OPEN = auto()
    """For some, perhaps."""


_REACHES: dict[Callable[[Case], Any], Reach] = {
    read_daddr: Reach.DESTINATION,
    read_dport: Reach.PORT,
}
"""Of those that look at something else, it is farther."""


def _by_rules(ruleset: Ruleset, case: Case) -> _Walk | None:
    """Go through the rules; None: what they say may be something else for flows that are alike."""
    of_sender = ruleset.of_sender(case)
    if of_sender is not None:
        rules = list(islice(of_sender, _MOST_TRIED + 1))
        if len(rules) <= _MOST_TRIED:
            return _walked(rules, case)
    of_program = ruleset.of_program(case)  # but those that are for other destinations
    walk = None if of_program is None else _walked(of_program, case)
    return None if walk is None else walk._replace(reach=Reach.DESTINATION)


def _walked(rules: Iterable[Rule], case: Case) -> _Walk | None:
    """Go through *rules*; None: one may decide for something that is not in the key."""
    until_ns: int | None = None
    reach = Reach.ANYWHERE
    for rule in rules:
        holds = [_holds(each, case) for each in rule.conditions]
        reaches = [_reach_of(each) for each in rule.conditions]
        if _Holds.NO in holds:
            # One reason to pass it by is enough: that which holds for most destinations.
            no = (each for each, held in zip(reaches, holds, strict=True) if held is _Holds.NO)
            reach = min(reach, max(no))
            continue
        if _Holds.OPEN in holds:
            return None
        for condition in rule.conditions:
            if isinstance(condition, DeadlineCondition):
                until_ns = _earlier(until_ns, condition.until_monotonic_ns)
        reach = min([reach, *reaches])
        return _Walk(Ruling(rule.action, Reason.RULE, rule.name), until_ns, reach)
    return _Walk(None, None, reach)


def _reach_of(condition: Condition) -> Reach:
    if isinstance(condition, ListCondition):
        return Reach.DESTINATION
    if isinstance(condition, ValueCondition | AnyValueCondition):
        return _REACHES.get(condition.read, Reach.ANYWHERE)
    return Reach.ANYWHERE


def _holds(condition: Condition, case: Case) -> _Holds:
    if isinstance(condition, DisabledCondition):
        return _Holds.NO
    if not _is_of_key(condition):
        return _Holds.OPEN
    return _Holds.YES if condition.matches(case) else _Holds.NO


def _is_of_key(condition: Condition) -> bool:
    if isinstance(condition, ValueCondition | AnyValueCondition):
        return condition.read in _OF_KEY
    if isinstance(condition, ListCondition):
        # Of names nothing is in the key; a list of networks alone says the same as long as it is in
        # use, and another one comes as other rules do.
        contents = [each.content for each in condition.lists]
        return all(each is not None and not each.names for each in contents)
    # Time goes one way: a deadline that is over stays so, and one that is not is `until_ns`.
    return isinstance(condition, OwnerCondition | DeadlineCondition)


def _earlier(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
