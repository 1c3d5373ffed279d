"""Decisions that stand: what the rules say of a program and a destination, and nothing else.

Such a decision need not be made again. The kernel can repeat it for further flows of the same
program to the same destination, by a key that holds nothing but these: see bpf/verdicts.h. What the
key does not hold (arguments, ancestors, names, interfaces, hours …) must not make a difference. It
makes none where each rule that looks at it is passed by for something that is in the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple

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


class Standing(NamedTuple):
    """What the rules say of all flows of a program to a destination."""

    ruling: Ruling
    """Never `Action.ASK`."""
    until_ns: int | None
    """Monotonic; from then on they may say something else. None: while they are in force."""


def standing(ruleset: Ruleset, case: Case) -> Standing | None:
    """Return what *ruleset* says of every flow that is like this one in program and destination.

    That is the program's file and path, its user, group and network namespace, its cgroup if any
    rule looks at that (`Ruleset.asks_cgroup`), and address, port and protocol of the destination.
    None: it depends on something else, or nobody can say without asking.
    """
    owner = case.owner
    if not isinstance(owner, Process) or not isinstance(owner.exe.path, str):
        return None
    if case.iface_in is not NOT_FORWARDED:
        return None
    rules = ruleset.of_program(case)
    if rules is None:
        return None
    found = _first(rules, case)
    if found is None:
        found = Standing(ruleset.fallback(owner), None)
    if found is _OPEN or found.ruling.action is not Action.ASK:
        return None if found is _OPEN else found
    answered = _first(ruleset.answers, case)
    if answered is None or answered is _OPEN or answered.ruling.action is Action.ASK:
        return None
    return answered._replace(until_ns=_earlier(found.until_ns, answered.until_ns))


class _Holds(Enum):
    """Whether a condition holds for all flows that are alike in what is in the key."""

    YES = auto()
    NO = auto()
    OPEN = auto()
    """For some, perhaps."""


_OPEN = Standing(Ruling(Action.ASK, Reason.DEFAULT, None), None)
"""Nothing stands."""


def _first(rules: Iterable[Rule], case: Case) -> Standing | None:
    """Return what the first of *rules* says that decides; None: none does."""
    until_ns: int | None = None
    for rule in rules:
        holds = [_holds(each, case) for each in rule.conditions]
        if _Holds.NO in holds:
            continue
        if _Holds.OPEN in holds:
            return _OPEN
        for condition in rule.conditions:
            if isinstance(condition, DeadlineCondition):
                until_ns = _earlier(until_ns, condition.until_monotonic_ns)
        return Standing(Ruling(rule.action, Reason.RULE, rule.name), until_ns)
    return None


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
