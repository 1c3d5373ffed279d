"""Rules that depend on which binary a program is: held while pending, refused if unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, case, flow, instant, process, reviewed
from engine_play import counts, new_engine, records, verdicts
from nfsnitch.core.commands import CutFlow
from nfsnitch.core.conditions import (
    ValueCondition,
    read_changed,
    read_dport,
    read_package,
    read_sha256,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.events import (
    FlowArrived,
    FlowReviewed,
    ProgramIdentified,
    RulesetChanged,
    TimePassed,
)
from nfsnitch.core.identity import NOT_IDENTIFIED, Identity, Pending, appimage_of
from nfsnitch.core.owner import Process
from nfsnitch.core.record import owner_json
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown
from nfsnitch.core.waiting import IDENTIFY_TIMEOUT_NS

GOOD, BAD = "a" * 64, "b" * 64
PENDING = Pending("for the test")
GONE = Unknown("for the test, gone")
ACTIONS = (Action.ALLOW, Action.DENY, Action.REJECT, Action.ASK)


def program(
    sha256: str | Unknown = GOOD,
    *,
    changed: bool | Unknown = False,
    package: str | Unknown = "curl",
    ticket: int | None = None,
) -> Process:
    """Return a process of which this is known."""
    identity = Identity(sha256=sha256, changed=changed, package=package, ticket=ticket)
    return replace(process(), identity=identity)


def waiting(ticket: int = 1) -> Process:
    """Return a process of which nothing is known yet."""
    return program(PENDING, changed=PENDING, package=PENDING, ticket=ticket)


def has_sha256(*wanted: str, negated: bool = False) -> Condition:
    return ValueCondition("sha256", read_sha256, frozenset(wanted), negated)


def has_changed(*, negated: bool = False) -> Condition:
    return ValueCondition("changed", read_changed, frozenset({True}), negated)


def of_package(name: str, *, negated: bool = False) -> Condition:
    return ValueCondition("package", read_package, frozenset({name}), negated)


def to_port(port: int) -> Condition:
    return ValueCondition("dport", read_dport, frozenset({port}))


def ruleset(action: Action, *conditions: Condition) -> Ruleset:
    """Return one rule of these, and another one behind it that allows everything."""
    first = Rule("first", action, conditions, "test:1")
    return Ruleset((first, Rule("rest", Action.ALLOW, (), "test:2")), unanswered=Action.ALLOW)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("negated", [False, True])
def test_a_rule_whose_hash_cannot_be_told_refuses_whatever_its_action(
    action: Action, *, negated: bool
) -> None:
    rules = ruleset(action, has_sha256(GOOD, negated=negated))
    ruling = rules.rule_on(case(owner=program(GONE, changed=GONE)))

    assert (ruling.action, ruling.reason, ruling.rule) == (
        Action.DENY,
        Reason.UNIDENTIFIED,
        "first",
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_whether_a_program_has_changed_depends_on_its_hash(action: Action) -> None:
    rules = ruleset(action, has_changed())

    assert rules.rule_on(case(owner=program(GONE, changed=GONE))).reason is Reason.UNIDENTIFIED
    no_path = program(GOOD, changed=Unknown("no path"))
    assert rules.rule_on(case(owner=no_path)).rule == "rest"


def test_a_rule_whose_other_fields_do_not_match_is_passed_over() -> None:
    rules = ruleset(Action.DENY, to_port(22), has_sha256(BAD))

    assert rules.rule_on(case(flow(dport=80), program(GONE, changed=GONE))).rule == "rest"
    assert rules.rule_on(case(flow(dport=80), waiting())).rule == "rest"
    assert rules.rule_on(case(flow(dport=22), waiting())).action is Action.ASK


def test_what_is_known_already_may_rule_out_what_is_pending() -> None:
    rules = ruleset(Action.DENY, of_package("nc"), has_sha256(BAD))
    owner = program(PENDING, changed=PENDING, package="curl", ticket=1)

    assert rules.rule_on(case(owner=owner)).rule == "rest"


def test_a_package_that_cannot_be_told_is_not_matched_and_refuses_nothing() -> None:
    owner = program(package=Unknown("no path"))

    for negated in (False, True):
        rules = ruleset(Action.DENY, of_package("curl", negated=negated))
        assert rules.rule_on(case(owner=owner)).rule == "rest"


def test_flows_of_nobody_are_not_matched_by_hashes_and_not_refused_for_it() -> None:
    rules = ruleset(Action.DENY, has_sha256(GOOD))

    assert rules.rule_on(case(owner=Unknown("nobody knows"))).rule == "rest"


values = st.sampled_from([GOOD, BAD, PENDING, GONE])
conditions = st.sampled_from(
    [has_sha256(GOOD), has_sha256(GOOD, negated=True), has_changed(), has_changed(negated=True)]
)


@given(
    sha256=values,
    chosen=st.lists(st.tuples(st.sampled_from(ACTIONS), conditions), max_size=5),
)
def test_without_the_hash_nothing_is_allowed_that_any_hash_would_have_had_refused(
    sha256: str | Unknown, chosen: list[tuple[Action, Condition]]
) -> None:
    rules = Ruleset(
        tuple(Rule(str(at), action, (each,), "test") for at, (action, each) in enumerate(chosen)),
        default=Action.ALLOW,
    )
    changed = sha256 if isinstance(sha256, Unknown) else sha256 == BAD
    ruling = rules.rule_on(case(owner=program(sha256, changed=changed, ticket=1)))

    if isinstance(sha256, Unknown) and chosen:
        assert ruling.reason is Reason.UNIDENTIFIED
        assert ruling.action is (Action.ASK if sha256 is PENDING else Action.DENY)
    else:
        assert ruling.reason is not Reason.UNIDENTIFIED


def test_a_flow_is_held_until_the_hash_is_known_and_no_other_one_with_it() -> None:
    engine = new_engine(ruleset(Action.REJECT, has_sha256(BAD)))

    assert not verdicts(engine.receive(arrival(1, owner=waiting())))
    other = arrival(2, of_flow=flow(sport=2), owner=program(GOOD), sock_cookie=2)
    assert verdicts(engine.receive(other)) == {2: Verdict.ACCEPT}
    done = engine.receive(ProgramIdentified(instant(1), 1, program(BAD).identity))

    assert verdicts(done) == {1: Verdict.REJECT}
    (record,) = records(done)
    assert (record.held_ns, record.decision.reason) == (1_000_000_000, Reason.RULE)
    assert owner_json(record.owner)["sha256"] == BAD


def test_a_flow_whose_hash_stays_unknown_is_refused_with_a_reason_of_its_own() -> None:
    engine = new_engine(ruleset(Action.ALLOW, has_sha256(GOOD)))
    engine.receive(arrival(1, owner=waiting()))
    unknown = program(GONE, changed=GONE).identity
    done = engine.receive(ProgramIdentified(instant(1), 1, unknown))

    assert verdicts(done) == {1: Verdict.DROP}
    assert records(done)[0].decision.reason is Reason.UNIDENTIFIED
    assert counts(done)[Counter.UNIDENTIFIED] == 1


def test_a_flow_that_waits_too_long_is_refused_though_unanswered_ones_are_allowed() -> None:
    engine = new_engine(ruleset(Action.ALLOW, has_sha256(GOOD)))
    engine.receive(arrival(1, owner=waiting()))
    done = engine.receive(TimePassed(instant(IDENTIFY_TIMEOUT_NS / 1e9)))

    assert verdicts(done) == {1: Verdict.DROP}
    assert records(done)[0].decision.reason is Reason.UNIDENTIFIED
    assert Counter.UNANSWERED not in counts(done)
    assert not engine.receive(ProgramIdentified(instant(20), 1, program().identity))


def test_all_who_may_have_sent_must_be_known() -> None:
    engine = new_engine(ruleset(Action.REJECT, has_sha256(BAD)))
    engine.receive(arrival(1, owner=waiting(1), rivals=(waiting(2),)))

    assert not verdicts(engine.receive(ProgramIdentified(instant(1), 1, program().identity)))
    done = engine.receive(ProgramIdentified(instant(2), 2, program(BAD).identity))
    assert verdicts(done) == {1: Verdict.REJECT}


def test_a_known_hash_may_lead_to_a_question_that_has_all_its_time() -> None:
    engine = new_engine(ruleset(Action.ASK, has_sha256(BAD)))
    engine.receive(arrival(1, owner=waiting()))
    engine.receive(ProgramIdentified(instant(14), 1, program(BAD).identity))

    assert not verdicts(engine.receive(TimePassed(instant(16))))
    assert verdicts(engine.receive(TimePassed(instant(44)))) == {1: Verdict.ACCEPT}


def test_rules_that_come_in_force_meanwhile_decide() -> None:
    engine = new_engine(ruleset(Action.ALLOW, has_sha256(GOOD)))
    engine.receive(arrival(1, owner=waiting()))
    done = engine.receive(RulesetChanged(instant(1), ruleset(Action.REJECT), 2))

    assert verdicts(done) == {1: Verdict.REJECT}


def test_a_flow_under_way_is_cut_once_its_hash_turns_out_to_be_refused() -> None:
    engine = new_engine(ruleset(Action.DENY, has_sha256(BAD)))

    assert not engine.receive(reviewed(owner=waiting()))
    done = engine.receive(ProgramIdentified(instant(1), 1, program(BAD).identity))
    assert [type(each) for each in done if isinstance(each, CutFlow)] == [CutFlow]
    event = reviewed(owner=program(GONE, changed=GONE))
    assert isinstance(event, FlowReviewed)
    assert any(isinstance(each, CutFlow) for each in engine.receive(event))


def test_a_record_tells_both_hashes_of_a_changed_program_and_nothing_where_nobody_looked() -> None:
    identity = Identity(
        sha256=GOOD, changed=True, package="curl", previous_sha256=BAD, package_updated=True
    )
    told = owner_json(replace(process(), identity=identity))

    assert (told["sha256"], told["changed"], told["previous_sha256"]) == (GOOD, True, BAD)
    assert (told["package"], told["package_updated"]) == ("curl", True)
    assert process().identity is NOT_IDENTIFIED
    assert "sha256" not in owner_json(process())


def test_an_appimage_is_named_by_where_its_runtime_mounts_it() -> None:
    assert appimage_of("/tmp/.mount_Krita_Xa1B2c/usr/bin/krita") == "Krita_"  # noqa: S108
    assert isinstance(appimage_of("/usr/bin/krita"), Unknown)
    assert isinstance(appimage_of(Unknown("no path")), Unknown)


def test_the_event_is_for_arrivals_alone_and_leaves_others_as_they_are() -> None:
    engine = new_engine(ruleset(Action.ASK, to_port(80)))
    assert isinstance(arrival(1), FlowArrived)
    engine.receive(arrival(1))

    assert not engine.receive(ProgramIdentified(instant(1), 7, program().identity))
    assert engine.held_flows == 1
