"""What rules have said is remembered only where they would say it again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import random_rules
from builders import case, datagrams, flow, instant, process
from nfsnitch.core.case import Case
from nfsnitch.core.conditions import ValueCondition, read_dport, read_sport
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.listing import ListDefinition, NamedList
from nfsnitch.core.name_conditions import ListCondition
from nfsnitch.core.remembered import MOST, RememberedRulings
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.timed import DeadlineCondition, ExpiryCondition
from nfsnitch.core.unknown import Unknown


def rules(*conditions: Condition) -> Ruleset:
    """Return one rule of these conditions, and what holds where it does not match."""
    return Ruleset((Rule("first", Action.ALLOW, conditions, "test:1"),), default=Action.REJECT)


def to_port(port: int) -> Condition:
    return ValueCondition("dport", read_dport, frozenset({port}))


@given(st.integers(0, 2**32))
def test_what_is_remembered_is_what_the_rules_say(seed: int) -> None:
    chance = random_rules.chance_by(seed)
    ruleset = Ruleset(random_rules.rules(chance, 3), answers=random_rules.rules(chance, 2))
    remembered = RememberedRulings(ruleset)
    cases = [random_rules.case(chance) for _ in range(6)]
    for number in range(30):
        some = chance.choice(cases)
        flow_now = some.flow._replace(sport=chance.choice(random_rules.PORTS))
        some = some._replace(flow=flow_now, now=instant(number * 40_000))
        assert remembered.ruling(some) == ruleset.rule_on(some)


def test_the_rules_are_asked_once_for_connections_that_differ_in_their_own_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Case] = []
    real = Ruleset.rule_on

    def noted(ruleset: Ruleset, each: Case) -> Ruling:
        asked.append(each)
        return real(ruleset, each)

    monkeypatch.setattr(Ruleset, "rule_on", noted)
    remembered, curl = RememberedRulings(rules(to_port(80))), process()

    for sport in range(1_000, 1_010):
        ruling = remembered.ruling(case(flow(sport=sport), curl))
        assert (ruling.action, ruling.rule) == (Action.ALLOW, "first")
    other = [flow(dport=81), flow("192.0.2.7"), datagrams(dport=80)]
    assert [remembered.ruling(case(each, curl)).reason for each in other] == [
        *(Reason.DEFAULT, Reason.RULE, Reason.RULE)
    ]

    assert len(asked) == 1 + len(other)


@pytest.mark.parametrize(
    "condition",
    [
        ValueCondition("sport", read_sport, frozenset({40_000})),
        ListCondition("list", (NamedList(ListDefinition("l", "/l")),)),
        DeadlineCondition("for", 10**18),
        ExpiryCondition("until", 10**18),
        ValueCondition("odd", lambda some: some.now.wall_ns, frozenset({1})),
    ],
    ids=["own port", "list", "deadline", "expiry", "reader that nobody knows"],
)
def test_nothing_is_remembered_where_a_rule_looks_at_what_may_be_another_next_time(
    condition: Condition,
) -> None:
    assert RememberedRulings(rules(to_port(80))).remembers
    assert not RememberedRulings(rules(to_port(80), condition)).remembers
    answers = tuple(rules(condition).rules)
    assert not RememberedRulings(Ruleset(rules(to_port(80)).rules, answers=answers)).remembers


def test_as_much_is_remembered_as_there_is_room_for_and_never_of_another_program() -> None:
    remembered = RememberedRulings(rules(to_port(80)))
    for number in range(2 * MOST):  # each program is freed at once: the next may be in its place
        sender = process(pid=number)
        dport = 80 if number % 3 else 81
        wanted = Action.ALLOW if number % 3 else Action.REJECT
        assert remembered.ruling(case(flow(dport=dport), sender)).action is wanted
    assert remembered.size == MOST


def test_of_programs_that_are_not_known_yet_and_of_nobody_nothing_is_remembered() -> None:
    remembered = RememberedRulings(rules(to_port(80)))
    pending = replace(process(), identity=Identity(sha256=Pending("being read"), ticket=1))
    for owner in (pending, Unknown("gone")):
        before = remembered.size
        remembered.ruling(case(flow(), owner))
        assert remembered.size == before
