"""Rules on opening sockets past netfilter: who is asked, and what the kernel is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import instant, process
from nfsnitch.adapters.rulefile import Names, RuleFileError, load
from nfsnitch.adapters.rulefile.lint import lint
from nfsnitch.core.conditions import ValueCondition, bypasses_of, read_exe, read_proto
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import (
    MAX_OPENING_RULES,
    Opening,
    Texts,
    about_openings,
    inexpressible,
    opening_case,
    opening_decision,
    opening_rules,
)
from nfsnitch.core.pattern import PatternError, paths
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown

NAMES = Names({"alice": 1000}.get, lambda _service: frozenset())
SNIFFER = Opening(Bypass.PACKET, 3, 3)


def loaded(tmp_path: Path, text: str) -> Ruleset:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return load([path], NAMES)


def told(tmp_path: Path, fields: str, action: str = "deny") -> str:
    with pytest.raises(RuleFileError) as caught:
        loaded(tmp_path, f"rules: [{{name: a, action: {action}, {fields}}}]")
    return str(caught.value)


def test_only_rules_that_name_such_a_socket_are_asked(tmp_path: Path) -> None:
    ruleset = loaded(
        tmp_path,
        """
default: deny
rules:
  - {name: all, action: deny}
  - {name: tcp, action: deny, proto: tcp}
  - {name: not tcp, action: deny, proto: {not: tcp}}
  - {name: packet, action: deny, proto: packet, uid: 5}
""",
    )
    case = opening_case(SNIFFER, process(), instant())

    assert [rule.name for rule in about_openings(ruleset).rules] == ["packet"]
    assert about_openings(ruleset).rule_on(case) == Ruling(Action.ALLOW, Reason.DEFAULT, None)


@pytest.mark.parametrize(
    ("rules", "unattributed", "expected"),
    [
        ("[]", "deny", Action.ALLOW),
        ("[{name: a, action: deny, proto: xdp, uid: 1}]", "deny", Action.DENY),
        ("[{name: a, action: deny, proto: xdp, uid: 1}]", "allow", Action.ALLOW),
        ("[{name: a, action: deny, proto: xdp, uid: 1}]", "ask", Action.REJECT),
    ],
)
def test_who_is_not_known_is_refused_only_where_there_are_such_rules(
    tmp_path: Path, rules: str, unattributed: str, expected: Action
) -> None:
    text = f"unattributed: {unattributed}\nunanswered: reject\nrules: {rules}"
    asked = about_openings(loaded(tmp_path, text))

    assert asked.rule_on(opening_case(SNIFFER, Unknown("gone"), instant())).action is expected


def test_the_kernel_is_told_of_the_rules_that_are_in_force_now(tmp_path: Path) -> None:
    ruleset = loaded(
        tmp_path,
        """
rules:
  - {name: off, action: deny, proto: packet, enabled: false}
  - {name: over, action: deny, proto: packet, expires: 2020-01-01}
  - {name: still, action: reject, proto: [packet, xdp], expires: 2050-01-01}
  - {name: users, action: allow, proto: xdp, user: {not: alice}, gid: [3, 4]}
  - {name: programs, action: deny, proto: packet, exe: [/bin/a, /opt/**]}
""",
    )
    still, users, programs = opening_rules(ruleset, instant())

    assert (still.name, still.refuses, still.bypasses) == ("still", True, frozenset(Bypass))
    assert still.tests == ()
    assert (users.refuses, users.bypasses) == (False, frozenset({Bypass.XDP}))
    assert {(test.field, test.negated, test.wanted) for test in users.tests} == {
        ("user", True, frozenset({1000})),
        ("gid", False, frozenset({3, 4})),
    }
    assert programs.tests[0].wanted == Texts(frozenset({b"/bin/a"}), frozenset({b"/opt/"}))


PART = st.text(st.sampled_from("ab/\\[*?é"), max_size=4)


@given(
    st.lists(st.builds(lambda text, end: f"/{text}{end}", PART, st.sampled_from(["", "**"]))),
    st.builds("/{}".format, st.text(st.sampled_from("ab/é*[\\"), max_size=6)),
)
@example(["/a/**"], "/a/b")
@example([r"/\*"], "/*")
def test_the_kernels_comparison_says_what_the_patterns_say(globs: list[str], path: str) -> None:

    try:
        wanted = paths(globs)
    except PatternError:
        return
    conditions = (
        ValueCondition("proto", read_proto, frozenset[int](Bypass)),
        ValueCondition("exe", read_exe, wanted),
    )
    if list(inexpressible(conditions)):
        return
    rule = Rule("a", Action.DENY, conditions, "here")
    ((test,),) = (each.tests for each in opening_rules(Ruleset((rule,)), instant()))

    assert isinstance(test.wanted, Texts)
    text = encoded(path)
    named = text in test.wanted.whole or text.startswith(tuple(test.wanted.beginnings))
    assert named == (path in wanted)


@pytest.mark.parametrize(
    ("fields", "action", "says"),
    [
        ("proto: packet", "ask", "field action: the kernel decides on packet and xdp at once"),
        ("proto: [packet, tcp]", "deny", "field proto: a rule speaks of packets or of sockets"),
        ("proto: {not: packet}", "deny", "field proto: packet and xdp are no protocols"),
        ("proto: packet, daddr: 192.0.2.1", "deny", "field daddr: the kernel decides"),
        ("proto: packet, owner: unknown", "deny", "field owner: the kernel decides"),
        ("proto: packet, args: x", "deny", "use uid, user, gid, group, exe, cgroup"),
        ("proto: xdp, exe: /opt/*/x", "deny", "compares whole paths and beginnings: /opt/*/x"),
        (f"proto: xdp, exe: /{'x' * 171}", "deny", "compares 171 bytes of a path"),
        (f"proto: xdp, cgroup: /{'é' * 86}/**", "deny", "compares 171 bytes of a path"),
        (f"proto: xdp, uid: {list(range(1025))}", "deny", "it takes 1024 values"),
    ],
)
def test_what_the_kernel_cannot_judge_by_is_refused_with_what_to_write_instead(
    tmp_path: Path, fields: str, action: str, says: str
) -> None:
    assert says in told(tmp_path, fields, action)


def test_more_rules_than_the_kernel_takes_are_refused(tmp_path: Path) -> None:
    rules = "".join(
        f"  - {{name: r{number}, action: deny, proto: packet, uid: {number}}}\n"
        for number in range(MAX_OPENING_RULES + 1)
    )
    with pytest.raises(RuleFileError, match=r"the kernel takes 64 rules on packet and xdp"):
        loaded(tmp_path, f"rules:\n{rules}")


def test_a_rule_that_allows_everything_does_not_shadow_one_on_openings(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        """
rules:
  - {name: sniffers, action: deny, proto: packet, uid: 7}
  - {name: all, action: deny}
  - {name: rest, action: deny, proto: packet}
  - {name: never, action: deny, proto: packet, uid: 8}
""",
        encoding="utf-8",
    )
    warnings = lint([path], NAMES, 0).warnings

    assert [(each.what, each.code) for each in warnings] == [("rule 'never'", "shadowed")]


@pytest.mark.parametrize(
    ("action", "could_refuse", "verdict", "reason"),
    [
        (Action.ALLOW, True, Verdict.ACCEPT, Reason.RULE),
        (Action.DENY, True, Verdict.REJECT, Reason.RULE),
        (Action.REJECT, True, Verdict.REJECT, Reason.RULE),
        (Action.DENY, False, Verdict.ACCEPT, Reason.UNREFUSABLE),
    ],
)
def test_a_decision_says_what_became_of_it(
    action: Action,
    verdict: Verdict,
    reason: Reason,
    *,
    could_refuse: bool,
) -> None:
    decision = opening_decision(Ruling(action, Reason.RULE, "a"), could_refuse=could_refuse)

    assert (decision.verdict, decision.reason, decision.rule) == (verdict, reason, "a")


def test_no_bypass_has_the_number_of_a_protocol() -> None:
    assert min(Bypass) > 255
    assert bypasses_of(()) == frozenset()


def test_answers_say_nothing_of_sockets_past_netfilter() -> None:
    anything = Rule("anything", Action.ALLOW, (), "answers.yaml:1")

    asked = about_openings(Ruleset(unattributed=Action.DENY).with_answers((anything,)))

    assert asked.answers == ()
