"""Rules that change while the engine decides: generations, held flows, and flows under way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import arrival, flow, instant, process, reviewed
from engine_play import (
    ASK_S,
    NOBODY,
    RULES,
    ByProgram,
    counts,
    new_engine,
    records,
    verdicts,
)
from nfsnitch.core.commands import Command, CutFlow, DistrustFlow, JudgeFlow, TrustFlow
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    FlowReviewed,
    MalformedArrived,
    RulesetChanged,
    SocketClosed,
    TimePassed,
)
from nfsnitch.core.flow import Protocol
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Settings

ALL_ALLOWED = Ruleset(default=Action.ALLOW, unattributed=Action.ALLOW)
ALL_DENIED = Ruleset(default=Action.DENY)
ALL_REJECTED = Ruleset(default=Action.REJECT)
ALL_ASKED = Ruleset(default=Action.ASK, ask_timeout_ns=99_000_000_000)
CURL_ALONE = Ruleset(
    rules=(Rule("curl", Action.ALLOW, (ByProgram("/usr/bin/curl"),), "test:1"),),
    default=Action.DENY,
)
ASKED = flow(dport=22)
DATAGRAM = flow(dport=80)._replace(proto=Protocol.UDP)


def changed(ruleset: Ruleset, generation: int = 2, seconds: float = 0) -> RulesetChanged:
    return RulesetChanged(instant(seconds), ruleset, generation)


def kinds(commands: list[Command]) -> list[type[Command]]:
    """Return what is to be done with the flow itself."""
    wanted = (CutFlow, JudgeFlow, DistrustFlow)
    return [type(each) for each in commands if isinstance(each, wanted)]


def with_trusted_datagrams(ruleset: Ruleset = RULES) -> Engine:
    engine = new_engine(ruleset)
    played = [engine.receive(arrival(n, of_flow=DATAGRAM)) for n in range(TRUST_AFTER)]
    assert TrustFlow(DATAGRAM) in played[-1]
    return engine


def test_every_record_names_the_generation_whose_rules_decided() -> None:
    engine = new_engine(ALL_ALLOWED)
    before = engine.receive(arrival(1, of_flow=flow(sport=1)))
    engine.receive(changed(ALL_DENIED, 2))
    second = engine.receive(arrival(2, of_flow=flow(sport=2)))
    engine.receive(changed(ALL_ALLOWED, 3))
    third = engine.receive(arrival(3, of_flow=flow(sport=3)))
    malformed = engine.receive(MalformedArrived(instant(), 4, "for the test", "eth0"))

    played = [records(each)[0] for each in (before, second, third, malformed)]
    assert [record.generation for record in played] == [1, 2, 3, 3]
    assert [record.decision.verdict for record in played[:3]] == [
        Verdict.ACCEPT,
        Verdict.DROP,
        Verdict.ACCEPT,
    ]


def test_a_decision_is_recorded_anew_after_a_reload_though_it_is_the_same() -> None:
    engine = new_engine(ALL_DENIED)
    engine.receive(arrival(1))
    assert records(engine.receive(arrival(2))) == []

    engine.receive(changed(ALL_DENIED))

    assert [each.generation for each in records(engine.receive(arrival(3)))] == [2]


def test_packets_from_before_a_reload_do_not_count_towards_trust() -> None:
    engine = new_engine(ALL_ALLOWED)
    for packet_id in range(TRUST_AFTER - 1):
        engine.receive(arrival(packet_id, of_flow=DATAGRAM))
    engine.receive(changed(ALL_ALLOWED))

    played = [engine.receive(arrival(n, of_flow=DATAGRAM)) for n in range(TRUST_AFTER)]

    told = [[each for each in commands if isinstance(each, TrustFlow)] for commands in played]
    assert told == [[]] * (TRUST_AFTER - 1) + [[TrustFlow(DATAGRAM)]]


@pytest.mark.parametrize(
    ("ruleset", "verdict"),
    [
        (ALL_ALLOWED, Verdict.ACCEPT),
        (ALL_DENIED, Verdict.DROP),
        (ALL_REJECTED, Verdict.REJECT),
    ],
)
def test_a_held_flow_gets_what_the_new_rules_say_at_once_with_all_its_packets(
    ruleset: Ruleset, verdict: Verdict
) -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=ASKED))
    engine.receive(arrival(2, seconds=1, of_flow=ASKED))

    commands = engine.receive(changed(ruleset, seconds=3))

    assert verdicts(commands) == {1: verdict, 2: verdict}
    (record,) = records(commands)
    assert (record.generation, record.packets) == (2, 2)
    assert record.held_ns == 3_000_000_000
    assert record.decision.reason is Reason.DEFAULT
    assert engine.held_flows == 0
    assert verdicts(engine.receive(TimePassed(instant(ASK_S)))) == {}


def test_what_a_reload_lets_go_makes_room_for_what_is_held_next() -> None:
    settings = Settings(queue_length=4)  # of which three packets may be held
    asked = replace(ALL_ASKED, settings=settings)
    engine = new_engine(asked)
    for generation in range(2, 12, 2):
        for number in range(3):
            held = counts(engine.receive(arrival(number, of_flow=flow(sport=number))))
            assert (held[Counter.HELD], Counter.HELD_LIMIT in held) == (1, False)
        engine.receive(changed(replace(ALL_DENIED, settings=settings), generation))
        engine.receive(changed(asked, generation + 1))


def test_a_held_flow_that_is_to_be_asked_about_still_keeps_its_deadline() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=ASKED))

    assert verdicts(engine.receive(changed(ALL_ASKED, seconds=3))) == {}

    over = engine.receive(TimePassed(instant(ASK_S)))
    assert verdicts(over) == {1: Verdict.DROP}  # `unanswered` of the new rules
    (record,) = records(over)
    assert (record.generation, record.decision.rule) == (2, None)


@pytest.mark.parametrize("ruleset", [ALL_DENIED, ALL_REJECTED])
@pytest.mark.parametrize("of_flow", [flow(), DATAGRAM])
def test_a_flow_under_way_that_is_refused_now_is_cut_and_recorded(
    ruleset: Ruleset, of_flow: object
) -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(ruleset))
    assert of_flow in (flow(), DATAGRAM)
    event = reviewed(flow() if of_flow == flow() else DATAGRAM)

    commands = engine.receive(event)

    assert CutFlow(event.live.entry, event.live.flow, 1) in commands
    (record,) = records(commands)
    assert (record.decision.verdict, record.decision.reason) == (Verdict.DROP, Reason.CUT)
    assert (record.generation, record.packets, record.owner) == (2, 0, process())
    assert counts(commands) == {Counter.FLOWS_CUT: 1}


def test_a_flow_under_way_that_is_allowed_lives_on_undisturbed() -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(CURL_ALONE))

    assert engine.receive(reviewed(owner=process("/usr/bin/curl"))) == []
    assert kinds(engine.receive(reviewed(owner=process("/opt/other")))) == [CutFlow]


def test_of_several_who_may_have_the_socket_the_strictest_counts() -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(CURL_ALONE))
    curl, other = process("/usr/bin/curl"), process("/opt/other")

    assert kinds(engine.receive(reviewed(owner=curl, rivals=(other,)))) == [CutFlow]
    assert kinds(engine.receive(reviewed(owner=curl, rivals=(curl,)))) == []


def test_a_flow_of_nobody_known_gets_what_the_rules_say_of_such() -> None:
    engine = new_engine(ALL_ALLOWED)

    assert engine.receive(reviewed(owner=NOBODY)) == []
    engine.receive(changed(ALL_DENIED))
    assert kinds(engine.receive(reviewed(owner=NOBODY))) == [CutFlow]


def test_trust_in_a_flow_that_is_still_allowed_stays_and_ends_with_its_socket() -> None:
    engine = with_trusted_datagrams()
    engine.receive(changed(ALL_ALLOWED))

    assert engine.receive(reviewed(DATAGRAM, labelled=True)) == []
    assert kinds(engine.receive(SocketClosed(instant(), 1))) == [DistrustFlow]


def test_trust_in_a_flow_that_is_to_be_asked_about_ends() -> None:
    engine = with_trusted_datagrams()
    engine.receive(changed(ALL_ASKED))

    assert kinds(engine.receive(reviewed(DATAGRAM, labelled=True))) == [JudgeFlow]

    assert kinds(engine.receive(SocketClosed(instant(), 1))) == []


def test_a_connection_that_is_to_be_asked_about_lives_on() -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(ALL_ASKED))

    assert engine.receive(reviewed(flow())) == []


def test_a_trusted_flow_that_was_cut_is_trusted_no_longer_and_makes_room() -> None:
    engine = with_trusted_datagrams()
    engine.receive(changed(ALL_DENIED))

    assert kinds(engine.receive(reviewed(DATAGRAM, labelled=True))) == [CutFlow]

    assert kinds(engine.receive(SocketClosed(instant(), 1))) == []


def test_a_label_that_was_given_before_the_start_is_taken_off() -> None:
    engine = new_engine(ALL_ALLOWED)

    assert kinds(engine.receive(reviewed(DATAGRAM, labelled=True))) == [JudgeFlow]


def test_labels_on_a_flow_that_has_no_socket_any_more_are_taken_off() -> None:
    engine = new_engine(ALL_DENIED)
    orphan = reviewed(DATAGRAM, labelled=True).live._replace(found=None)

    assert kinds(engine.receive(FlowReviewed(instant(), orphan))) == [JudgeFlow]
    unlabelled = orphan._replace(labelled=False)
    assert engine.receive(FlowReviewed(instant(), unlabelled)) == []


def test_a_flow_that_was_cut_is_cut_once_and_freed_when_it_is_allowed_again() -> None:
    engine = new_engine(ALL_DENIED)

    assert engine.receive(reviewed(DATAGRAM, is_cut=True)) == []
    engine.receive(changed(ALL_ALLOWED))
    assert kinds(engine.receive(reviewed(DATAGRAM, is_cut=True))) == [JudgeFlow]


def test_time_alone_leaves_the_generation_as_it_is() -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(replace(ALL_DENIED), generation=1))

    (record,) = records(engine.receive(arrival(1)))
    assert (record.generation, record.decision.verdict) == (1, Verdict.DROP)


def test_a_forwarded_flow_is_cut_as_one_whose_socket_is_out_of_reach() -> None:
    engine = new_engine(ALL_ALLOWED)
    engine.receive(changed(ALL_DENIED))
    event = reviewed()
    event = event._replace(live=event.live._replace(is_forwarded=True))

    (cut,) = [each for each in engine.receive(event) if isinstance(each, CutFlow)]

    assert cut.is_forwarded
