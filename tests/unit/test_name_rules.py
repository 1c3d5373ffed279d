"""Rules that depend on names: what decides where a name cannot be told, or may still come."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import case
from nfsnitch.core.case import Case
from nfsnitch.core.conditions import ValueCondition, read_daddr, read_exe, read_sha256
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_conditions import HostCondition, HostNames
from nfsnitch.core.owner import Process
from nfsnitch.core.pattern import paths
from nfsnitch.core.rule import AtQuestion, Condition, Rule
from nfsnitch.core.ruleset import Ruleset, Ruling

ORG = HostCondition("host", HostNames(frozenset({"example.org"}), frozenset()))
CURL = ValueCondition("exe", read_exe, paths(["/usr/bin/curl"]))
WGET = ValueCondition("exe", read_exe, paths(["/usr/bin/wget"]))
THERE = ValueCondition("daddr", read_daddr, frozenset({case().flow.daddr}))


def rule(
    action: Action,
    *conditions: Condition,
    unknown: Action | None = None,
    dns: AtQuestion | None = None,
) -> Rule:
    return Rule(f"{action} {len(conditions)}", action, conditions, "f:1", None, unknown, dns)


def to(*texts: str, may_come: bool = False) -> Case:
    names = tuple(Name(text, NameSource.DNS, own=True, known_ns=0) for text in texts)
    return case()._replace(names=Names(names, may_come=may_come))


@pytest.mark.parametrize("names", [(), ("example.org", "other.test")])
def test_a_rule_whose_name_cannot_be_told_is_passed_by_unless_it_says_otherwise(
    names: tuple[str, ...],
) -> None:
    rules = Ruleset((rule(Action.DENY, ORG),), Action.ALLOW)
    assert rules.rule_on(to(*names)) == Ruling(Action.ALLOW, Reason.DEFAULT, None)
    for unknown in (Action.DENY, Action.REJECT, Action.ASK):
        rules = Ruleset((rule(Action.ALLOW, ORG, unknown=unknown),), Action.ALLOW)
        assert rules.rule_on(to(*names)) == Ruling(unknown, Reason.UNNAMED, "allow 1")


def test_an_unknown_name_means_nothing_to_a_rule_for_another_program() -> None:
    rules = Ruleset((rule(Action.ALLOW, WGET, ORG, unknown=Action.DENY),), Action.ASK)
    assert rules.rule_on(to()).reason is Reason.DEFAULT
    assert rules.rule_on(to(may_come=True)).reason is Reason.DEFAULT


def test_a_name_that_may_come_is_waited_for_where_it_makes_a_difference() -> None:
    rules = Ruleset((rule(Action.DENY, ORG),), Action.ALLOW)
    awaited = Ruling(Action.ASK, Reason.NAME_AWAITED, "deny 1")
    assert rules.rule_on(to(may_come=True)) == awaited
    assert rules.rule_on(to("example.org", "other.test", may_come=True)) == awaited
    assert rules.rule_on(to("example.org", may_come=True)).action is Action.DENY
    assert rules.rule_on(to("other.test", may_come=True)).action is Action.ALLOW


def test_a_name_that_would_change_nothing_is_not_waited_for() -> None:
    rules = Ruleset((rule(Action.DENY, ORG),), Action.DENY)
    assert rules.rule_on(to(may_come=True)) == Ruling(Action.DENY, Reason.DEFAULT, None)


def test_a_name_that_may_clear_a_flow_is_waited_for_though_an_unknown_one_is_refused() -> None:
    rules = Ruleset((rule(Action.DENY, ORG, unknown=Action.DENY),), Action.ALLOW)
    assert rules.rule_on(to(may_come=True)).reason is Reason.NAME_AWAITED


def test_nobody_is_asked_before_the_name_has_come() -> None:
    rules = Ruleset((rule(Action.DENY, ORG),), Action.ASK)
    assert rules.rule_on(to(may_come=True)).reason is Reason.NAME_AWAITED


def test_an_answer_for_a_name_waits_for_it_too() -> None:
    rules = Ruleset((), Action.ASK).with_answers((rule(Action.ALLOW, ORG),))
    assert rules.rule_on(to(may_come=True)).reason is Reason.NAME_AWAITED
    assert rules.rule_on(to("example.org")).action is Action.ALLOW
    assert rules.rule_on(to()).reason is Reason.DEFAULT


def test_a_hash_that_is_pending_is_waited_for_though_the_name_is_unknown() -> None:
    digest = ValueCondition("sha256", read_sha256, frozenset({"0" * 64}))
    owner = case().owner
    assert isinstance(owner, Process)
    pending = replace(owner, identity=Identity(sha256=Pending("it is being read"), ticket=1))
    asked = to()._replace(owner=pending)
    refusing = Ruleset((rule(Action.DENY, ORG, digest, unknown=Action.DENY),), Action.ALLOW)
    assert refusing.rule_on(asked).reason is Reason.UNIDENTIFIED
    passing = Ruleset((rule(Action.DENY, ORG, digest),), Action.ALLOW)
    assert passing.rule_on(asked).reason is Reason.DEFAULT


ACTIONS = st.sampled_from(list(Action))
RULES = st.lists(
    st.builds(
        rule,
        ACTIONS,
        st.sampled_from([CURL, WGET, THERE, ORG]),
        st.sampled_from([CURL, ORG]),
        unknown=st.sampled_from([None, Action.DENY, Action.REJECT, Action.ASK]),
    ),
    max_size=5,
).map(tuple)


@given(RULES, ACTIONS, st.sampled_from(["example.org", "other.test", None]))
def test_waiting_for_a_name_never_changes_what_becomes_of_the_flow(
    rules: tuple[Rule, ...], default: Action, name: str | None
) -> None:
    ruleset = Ruleset(rules, default)
    before = ruleset.rule_on(to(may_come=True))
    after = ruleset.rule_on(to(*([name] if name else [])))
    assert before.reason is Reason.NAME_AWAITED or before.action is after.action
    assert after.reason is not Reason.NAME_AWAITED


@given(RULES, ACTIONS)
def test_what_explain_lists_ends_with_the_rule_that_decides(
    rules: tuple[Rule, ...], default: Action
) -> None:
    ruleset = Ruleset(rules, default)
    for names in ((), ("example.org",), ("example.org", "other.test")):
        ruling = ruleset.rule_on(to(*names))
        listed = [each for each, _ in ruleset.mismatches(to(*names))]
        assert listed == list(rules[: len(listed)])
        if ruling.rule is not None:
            assert listed[-1].name == ruling.rule
        else:
            assert len(listed) == len(rules)


def question(text: str = "example.org") -> Case:
    return to(text)


def test_the_question_for_a_name_is_refused_where_the_rule_says_so() -> None:
    refusing = rule(Action.DENY, ORG, dns=AtQuestion.REFUSE)
    assert Ruleset((refusing,)).rule_on_question(question()) is refusing
    assert Ruleset((refusing,)).rule_on_question(question("other.test")) is None
    assert Ruleset((rule(Action.DENY, ORG),)).rule_on_question(question()) is None


@pytest.mark.parametrize(
    "earlier",
    [
        rule(Action.ALLOW, CURL),
        rule(Action.ALLOW, CURL, THERE),
        rule(Action.ASK, ORG),
        rule(Action.DENY, ORG),
    ],
)
def test_an_earlier_rule_for_the_program_or_the_name_lets_the_question_pass(earlier: Rule) -> None:
    refusing = rule(Action.DENY, ORG, dns=AtQuestion.DROP)
    assert Ruleset((earlier, refusing)).rule_on_question(question()) is None


@pytest.mark.parametrize("earlier", [rule(Action.ALLOW, WGET), rule(Action.DENY, CURL, THERE)])
def test_an_earlier_rule_that_need_not_allow_the_flow_does_not(earlier: Rule) -> None:
    refusing = rule(Action.DENY, ORG, dns=AtQuestion.DROP)
    assert Ruleset((earlier, refusing)).rule_on_question(question()) is refusing


def test_the_question_is_refused_to_one_program_and_not_to_another() -> None:
    refusing = rule(Action.REJECT, WGET, ORG, dns=AtQuestion.REFUSE)
    assert Ruleset((refusing,)).rule_on_question(question()) is None
