"""Where the rules that answers have made decide, and where they do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builders import case, flow, process
from engine_play import ByProgram, ToPort
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset, Ruling


def plainly(rules: tuple[Rule, ...], port: int, exe: str) -> Rule | None:
    """Return the first rule that matches, found by looking at each."""
    one = case(flow(dport=port), process(exe))
    matching = (rule for rule in rules if all(each.matches(one) for each in rule.conditions))
    return next(matching, None)


PORTS, EXES = st.sampled_from([1, 2, 3]), st.sampled_from(["/a", "/b"])
CONDITIONS = st.tuples() | st.tuples(PORTS.map(ToPort) | EXES.map(ByProgram))
SOME_RULES = st.lists(st.tuples(st.sampled_from(Action), CONDITIONS), max_size=5).map(
    lambda rules: tuple(
        Rule(f"rule {number}", action, conditions, "test")
        for number, (action, conditions) in enumerate(rules)
    )
)


@given(SOME_RULES, SOME_RULES, st.sampled_from(Action), PORTS, EXES)
def test_answers_decide_where_rules_say_ask_and_nowhere_else(
    rules: tuple[Rule, ...], answers: tuple[Rule, ...], default: Action, port: int, exe: str
) -> None:
    without = Ruleset(rules, default)
    one = case(flow(dport=port), process(exe))
    by_rule, by_answer = plainly(rules, port, exe), plainly(answers, port, exe)
    expected = Ruling(default, Reason.DEFAULT, None)
    if by_rule is not None:
        expected = Ruling(by_rule.action, Reason.RULE, by_rule.name)
    assert without.rule_on(one) == expected

    if expected.action is Action.ASK and by_answer is not None:
        expected = Ruling(by_answer.action, Reason.RULE, by_answer.name)
    assert without.with_answers(answers).rule_on(one) == expected
