"""Opening a socket past netfilter: who asks the rules, which rules, and in whose words.

Nothing can wait for an answer there: the hook in the kernel decides by itself. So the rules on
openings are told to it in a form of their own (`OpeningRule`), and what it cannot judge by, no such
rule may ask (`inexpressible`). Only rules that name ``packet`` or ``xdp`` as their ``proto`` speak
of openings; where none of them matches, the socket is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import DisabledCondition, ValueCondition, bypasses_of
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import NO_PORTS, Bypass, Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Owner
from nfsnitch.core.pattern import Paths
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.text import encoded
from nfsnitch.core.timed import ExpiryCondition, ScheduleCondition
from nfsnitch.core.unknown import Unknown

NO_FLOW = Unknown("a socket past netfilter: nobody sees where it sends")
OPENING_FIELDS = ("uid", "user", "gid", "group", "exe", "cgroup")
"""What a rule may ask of who opens a socket."""
MAX_OPENING_RULES = 64
MAX_OPENING_VALUES = 1_024
"""Of one field of one rule: all of 64 rules with six fields are more than the kernel's map takes,
and far more than anybody writes."""
MAX_TEXT_BYTES = 171

_PROTO = "proto"
_TIMED = (ScheduleCondition, ExpiryCondition)
_WILDCARDS = frozenset("*?[\\")


class Opening(NamedTuple):
    """A socket past netfilter that somebody opens."""

    bypass: Bypass
    socket_type: int
    """SOCK_RAW (3), SOCK_DGRAM (2), …"""
    protocol: int
    """What the socket receives, a number of `if_ether.h`; 0: nothing."""


class Texts(NamedTuple):
    """Paths that a hook can compare."""

    whole: frozenset[bytes]
    beginnings: frozenset[bytes]


class OpeningTest(NamedTuple):
    """One field of an opening rule."""

    field: str
    """One of `OPENING_FIELDS`."""
    negated: bool
    wanted: frozenset[int] | Texts


class OpeningRule(NamedTuple):
    """A rule as a hook judges by it."""

    name: str
    refuses: bool
    bypasses: frozenset[Bypass]
    tests: tuple[OpeningTest, ...]


def about_openings(ruleset: Ruleset) -> Ruleset:
    """Return the rules that are asked when a socket past netfilter is opened."""
    rules = ruleset.on_openings
    unattributed = ruleset.unattributed if rules else Action.ALLOW
    if unattributed is Action.ASK:  # nobody can be
        unattributed = ruleset.unanswered
    # Answers are about flows: nobody is asked when a socket is opened.
    return replace(
        ruleset, rules=rules, default=Action.ALLOW, unattributed=unattributed, answers=()
    )


def opening_rules(ruleset: Ruleset, now: Instant) -> tuple[OpeningRule, ...]:
    """Return the rules on openings that are in force *now*, in order, as a hook judges by them."""
    return tuple(
        OpeningRule(
            rule.name,
            rule.action is not Action.ALLOW,
            bypasses_of(rule.conditions),
            tuple(_tests(rule)),
        )
        for rule in about_openings(ruleset).rules
        if _in_force(rule, now)
    )


def opening_case(opening: Opening, owner: Owner, now: Instant) -> Case:
    """Return what rules are asked about an opening."""
    # A packet always has a family and addresses, so Flow has no place for an Unknown there; the
    # conditions look for one all the same.
    unknown = cast("Any", NO_FLOW)
    flow = Flow(unknown, opening.bypass, unknown, unknown, NO_PORTS, NO_PORTS)
    return Case(flow, owner, NO_FLOW, now)


def opening_decision(ruling: Ruling, *, could_refuse: bool) -> Decision:
    """Return what became of an opening by *ruling*, where it could be refused and where not."""
    if ruling.action is Action.ALLOW:
        return Decision(Verdict.ACCEPT, ruling.action, ruling.reason, ruling.rule)
    if could_refuse:  # the program is told at once
        return Decision(Verdict.REJECT, ruling.action, ruling.reason, ruling.rule)
    return Decision(Verdict.ACCEPT, ruling.action, Reason.UNREFUSABLE, ruling.rule)


def inexpressible(conditions: Iterable[Condition]) -> Iterator[tuple[str, str, str]]:
    """Yield what a hook cannot judge an opening by: the field, why, and what to write instead."""
    fields = ", ".join(OPENING_FIELDS)
    for each in conditions:
        if each.field == _PROTO:
            wanted = cast("frozenset[int]", cast("ValueCondition[int]", each).wanted)
            if not wanted <= frozenset[int](Bypass):
                why = "a rule speaks of packets or of sockets that are opened, not of both"
                yield each.field, why, "write a rule of its own for packet and xdp"
        elif each.field in OPENING_FIELDS:
            wanted_here = cast("ValueCondition[Any]", each).wanted
            yield from ((each.field, *said) for said in _not_comparable(wanted_here))
        elif not isinstance(each, (*_TIMED, DisabledCondition)):
            why = "the kernel decides on packet and xdp at once, and cannot ask for this"
            yield each.field, why, f"use {fields}"


def _not_comparable(wanted: object) -> Iterator[tuple[str, str]]:
    if isinstance(wanted, Paths):
        for glob in wanted.globs:
            if _beginning(glob) is None:
                why = f"with packet and xdp the kernel compares whole paths and beginnings: {glob}"
                yield why, "write whole paths, or /opt/** for all below /opt"
        texts = [*wanted.exact, *(each.removesuffix("**") for each in wanted.globs)]
        if any(len(encoded(each)) > MAX_TEXT_BYTES for each in texts):
            why = f"with packet and xdp the kernel compares {MAX_TEXT_BYTES} bytes of a path"
            yield why, "write /** after a beginning of it"
        size = len(texts)
    else:
        size = len(cast("frozenset[int]", wanted))
    if size > MAX_OPENING_VALUES:
        yield f"with packet and xdp it takes {MAX_OPENING_VALUES} values", "write fewer"


def _beginning(glob: str) -> str | None:
    """Return what all that *glob* matches begins with, if that is all it asks for."""
    literal = glob.removesuffix("**")
    return None if literal == glob or _WILDCARDS & set(literal) else literal


def _in_force(rule: Rule, now: Instant) -> bool:
    anyone = opening_case(Opening(Bypass.PACKET, 0, 0), NO_FLOW, now)
    return rule.enabled and all(
        each.matches(anyone) for each in rule.conditions if isinstance(each, _TIMED)
    )


def _tests(rule: Rule) -> Iterator[OpeningTest]:
    for each in rule.conditions:
        if each.field in OPENING_FIELDS and isinstance(each, ValueCondition):
            wanted = each.wanted
            if isinstance(wanted, Paths):
                beginnings = filter(None, map(_beginning, wanted.globs))
                wanted = Texts(
                    frozenset(map(encoded, wanted.exact)), frozenset(map(encoded, beginnings))
                )
            yield OpeningTest(each.field, each.negated, cast("Any", wanted))
