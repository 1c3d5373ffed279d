"""The index of rules: it finds what a walk through all of them finds, and leaves most out."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

import random_rules
from builders import case, flow, ping
from nfsnitch.core import conditions as of
from nfsnitch.core import rule_index, ruleset
from nfsnitch.core.blocks import Block, Blocks, blocks_of
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import packed_address
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_conditions import HostCondition, HostNames
from nfsnitch.core.pattern import regexes
from nfsnitch.core.ranges import PortRange, addresses, ports
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.rule_index import RuleIndex
from nfsnitch.core.rule_keys import MOST_KEYS, OF_THE_FLOW
from nfsnitch.core.ruleset import Ruleset

LIMITS: list[dict[str, Any]] = [
    {"_FEW": 0},
    {"_FEW": 4},
    {"_FEW": 0, "_FEW_FOUND": 1, "_SAMPLE": 2, "_COPIES_OF_EACH": 0, "_MORE_COPIES": 3},
]
"""To the last; as it is; and hardly allowed anything."""


def both(rules: tuple[Rule, ...], answers: tuple[Rule, ...] = ()) -> tuple[Ruleset, Ruleset]:
    """Return the same rules with an index, and without one."""
    with patch.object(ruleset, "FEWEST_RULES", 0):
        indexed = Ruleset(rules, answers=answers)
    with patch.object(ruleset, "FEWEST_RULES", 1 << 30):
        return indexed, Ruleset(rules, answers=answers)


_seeds = st.integers(0, 1 << 62)


@settings(max_examples=300, deadline=None)
@given(_seeds, st.sampled_from(LIMITS))
def test_whatever_the_rules_and_the_flow_the_index_finds_what_a_walk_finds(
    seed: int, limits: dict[str, Any]
) -> None:
    chance = random_rules.chance_by(seed)
    with patch.multiple(rule_index, **limits):
        rules, answers = random_rules.rules(chance, 60), random_rules.rules(chance, 10)
        indexed, walked = both(rules, answers)
        for _ in range(10):
            each = random_rules.case(chance)
            assert indexed.rule_on(each) == walked.rule_on(each)
            assert indexed.rule_on_question(each) == walked.rule_on_question(each)


@settings(max_examples=200, deadline=None)
@given(_seeds, st.sampled_from(LIMITS))
def test_the_index_leaves_out_no_rule_that_would_have_done_something(
    seed: int, limits: dict[str, Any]
) -> None:
    chance = random_rules.chance_by(seed)
    rules, some_case = random_rules.rules(chance, 60), random_rules.case(chance)
    with patch.multiple(rule_index, **limits):
        candidates = list(RuleIndex(rules).candidates(some_case))
        of_questions = list(RuleIndex(rules, OF_THE_FLOW).candidates(some_case))
    assert candidates == [rule for rule in rules if rule in candidates]
    assert of_questions == [rule for rule in rules if rule in of_questions]
    for rule in rules:
        if rule not in candidates:
            assert rule.first_mismatch(some_case) is not None
            assert rule.lacks(some_case) is None
            does_something = rule.on_unknown_name is not None or some_case.names.may_come
            assert not (does_something and rule.lacks_name(some_case))
        if rule not in of_questions:
            known = [each for each in rule.conditions if each.field not in ruleset.FLOW_FIELDS]
            assert not all(each.matches(some_case) for each in known)


def _to_port(number: int, *conditions: Condition) -> Rule:
    wanted = ports([PortRange(number, number)])
    port = of.ValueCondition("dport", of.read_dport, wanted)
    return Rule(f"r{number}", Action.DENY, (*conditions, port), "f:1")


def names(found: Iterable[Rule]) -> list[str]:
    return [rule.name for rule in found]


def test_of_many_rules_those_for_another_destination_are_left_out() -> None:
    anything = of.ValueCondition("args", of.read_args, regexes(["http"]))
    rules = (*(_to_port(at) for at in range(1_000)), Rule("last", Action.DENY, (anything,), "f:1"))
    index = RuleIndex(rules)
    assert names(index.candidates(case(flow(dport=80)))) == ["r80", "last"]
    assert names(index.candidates(case(ping()))) == ["last"]
    networks = (addresses([random_rules.network(f"10.{at}.0.0/16")]) for at in range(200))
    to = (of.ValueCondition("daddr", of.read_daddr, each) for each in networks)
    rules = tuple(Rule(f"r{at}", Action.DENY, (each,), "f:1") for at, each in enumerate(to))
    assert names(RuleIndex(rules).candidates(case(flow("10.7.1.1")))) == ["r7"]


def test_of_rules_for_names_those_for_others_are_left_out_while_a_name_is_known() -> None:
    hosts = [HostNames(frozenset({f"n{at}.test"}), frozenset()) for at in range(100)]
    hosts.append(HostNames(frozenset(), frozenset({"test"})))
    rules = tuple(
        Rule(f"r{at}", Action.DENY, (HostCondition("host", each),), "f:1")
        for at, each in enumerate(hosts)
    )
    rules = (*rules[:50], replace(rules[50], on_unknown_name=Action.DENY), *rules[51:])
    index = RuleIndex(rules)

    def found(*texts: str, may_come: bool = False) -> list[str]:
        all_names = tuple(Name(text, NameSource.DNS, own=True, known_ns=0) for text in texts)
        return names(index.candidates(case()._replace(names=Names(all_names, may_come=may_come))))

    assert found("n7.test") == found("n7.test", may_come=True) == ["r7", "r100"]
    assert found("n7.test", "n8.test", "other") == ["r7", "r8", "r100"]
    assert found() == ["r50"]
    assert len(found(may_come=True)) == len(rules)


def test_a_condition_that_wants_very_many_values_is_tried_instead() -> None:
    many = ports(PortRange(2 * at, 2 * at) for at in range(MOST_KEYS + 1))
    wide = Rule("wide", Action.DENY, (of.ValueCondition("dport", of.read_dport, many),), "f:1")
    index = RuleIndex((*(_to_port(at) for at in range(100)), wide))
    assert names(index.candidates(case(flow(dport=7)))) == ["r7", "wide"]


def test_rules_that_are_out_of_force_are_left_out() -> None:
    rules = tuple(_to_port(80, of.DisabledCondition("enabled")) for _ in range(10))
    assert names(RuleIndex(rules).candidates(case())) == []


def test_answers_leave_the_index_of_the_rules_as_it_is() -> None:
    rules = tuple(_to_port(at) for at in range(100))
    with patch.object(rule_index, "RuleIndex", wraps=RuleIndex) as made:
        before = Ruleset(rules, Action.ASK)
        made_of_rules = made.call_count
        after = before.with_answers((_to_port(443),))
    assert made.call_count == made_of_rules > 0
    assert after.rule_on(case(flow(dport=443))).rule == "r443"
    assert after.rule_on(case(flow(dport=80))).rule == "r80"
    assert replace(after, rules=rules[:50]).rule_on(case(flow(dport=80))).rule is None


@given(_seeds)
def test_the_blocks_of_ranges_have_what_is_in_those_and_nothing_else(seed: int) -> None:
    chance = random_rules.chance_by(seed)
    some_ports, some_addresses = (
        random_rules.some_ports(chance),
        random_rules.some_addresses(chance),
    )
    of_ports, of_addresses = list(blocks_of(some_ports)), list(blocks_of(some_addresses))
    for port in (*random_rules.PORTS, chance.randrange(1 << 16)):
        assert _times_in(of_ports, port) == (port in some_ports)
    for address in map(packed_address, random_rules.ADDRESSES):
        assert _times_in(of_addresses, address) == (address in some_addresses)


def _times_in(blocks: list[Block | int | bytes], value: int | bytes) -> int:
    kept = Blocks({each: each for each in blocks if isinstance(each, Block)})
    return len(kept.around(value)) + blocks.count(value)
