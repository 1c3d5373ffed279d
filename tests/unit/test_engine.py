"""The engine, as a play: what comes in, what must go out."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, flow, instant, process, reviewed
from engine_play import ASK_S, NOBODY, RULES, counts, new_engine, records, verdicts
from nfsnitch.core.commands import (
    GiveVerdict,
    WakeAt,
    WriteRecord,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.events import (
    Event,
    FlowArrived,
    MalformedArrived,
    PacketFailed,
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Limits, Settings


@pytest.mark.parametrize(
    ("dport", "verdict", "rule"),
    [
        (80, Verdict.ACCEPT, "web"),
        (81, Verdict.DROP, "tracker"),
        (23, Verdict.REJECT, "telnet"),
    ],
)
def test_a_flow_that_a_rule_decides_gets_its_verdict_at_once(
    dport: int, verdict: Verdict, rule: str
) -> None:
    commands = new_engine().receive(arrival(7, of_flow=flow(dport=dport)))

    assert verdicts(commands) == {7: verdict}
    (record,) = records(commands)
    assert record.decision.rule == rule
    assert record.decision.reason is Reason.RULE
    assert record.held_ns == 0


def test_the_verdict_comes_before_the_record() -> None:
    kinds = [type(command) for command in new_engine().receive(arrival(1))]

    assert kinds.index(GiveVerdict) < kinds.index(WriteRecord)


def test_a_flow_to_ask_about_is_held_until_its_time_is_over() -> None:
    engine = new_engine()

    asked = engine.receive(arrival(1, of_flow=flow(dport=22)))
    assert verdicts(asked) == {}
    assert WakeAt(instant(ASK_S).monotonic_ns) in asked

    assert verdicts(engine.receive(TimePassed(instant(ASK_S - 0.1)))) == {}

    over = engine.receive(TimePassed(instant(ASK_S)))
    assert verdicts(over) == {1: Verdict.REJECT}
    (record,) = records(over)
    assert record.decision.action is Action.ASK
    assert record.decision.reason is Reason.UNANSWERED
    assert record.decision.rule == "shell"
    assert record.held_ns == ASK_S * 1_000_000_000
    assert engine.held_flows == 0


def test_a_held_flow_delays_no_other_flow() -> None:
    engine = new_engine()
    engine.receive(arrival(0, of_flow=flow(dport=22)))

    for packet_id in range(1, 1001):
        commands = engine.receive(arrival(packet_id, of_flow=flow(sport=packet_id)))
        assert verdicts(commands) == {packet_id: Verdict.ACCEPT}

    assert engine.held_flows == 1


def test_a_packet_sent_again_joins_its_held_flow_and_shares_its_verdict() -> None:
    engine = new_engine()
    held = flow(dport=22)
    engine.receive(arrival(1, of_flow=held))

    again = engine.receive(arrival(2, seconds=1, of_flow=held))
    assert verdicts(again) == {}
    assert counts(again) == {Counter.JOINED: 1}

    over = engine.receive(TimePassed(instant(ASK_S)))
    assert verdicts(over) == {1: Verdict.REJECT, 2: Verdict.REJECT}
    (record,) = records(over)
    assert record.packets == 2


def limited(**limits: int) -> Ruleset:
    """Return the rules with these limits."""
    return replace(RULES, settings=Settings(limits=Limits(**limits)))


def test_packets_over_the_bound_of_a_held_flow_are_dropped_and_counted() -> None:
    engine = new_engine(limited(packets_of_held_flow=2))
    held = flow(dport=22)
    engine.receive(arrival(1, of_flow=held))
    engine.receive(arrival(2, of_flow=held))

    over = engine.receive(arrival(3, of_flow=held))

    assert verdicts(over) == {3: Verdict.DROP}
    assert counts(over)[Counter.HELD_LIMIT] == 1


def test_flows_over_the_number_that_may_be_held_are_unanswered_at_once() -> None:
    engine = new_engine(limited(held_flows=3))
    for packet_id in range(3):
        engine.receive(arrival(packet_id, of_flow=flow(dport=22, sport=packet_id)))

    over = engine.receive(arrival(9, of_flow=flow(dport=22, sport=9)))

    assert verdicts(over) == {9: Verdict.REJECT}
    assert records(over)[0].decision.reason is Reason.HELD_LIMIT
    assert counts(over)[Counter.HELD_LIMIT] == 1
    assert engine.held_flows == 3


def test_what_is_held_leaves_a_quarter_of_the_queue_to_the_others() -> None:
    engine = new_engine(replace(RULES, settings=Settings(queue_length=16)))
    held = flow(dport=22)
    for packet_id in range(11):
        engine.receive(arrival(packet_id, of_flow=held))
    other = engine.receive(arrival(11, of_flow=flow(dport=22, sport=9)))

    joining = engine.receive(arrival(12, of_flow=held))
    starting = engine.receive(arrival(13, of_flow=flow(dport=22, sport=10)))
    engine.receive(TimePassed(instant(ASK_S)))
    afterwards = engine.receive(arrival(14, seconds=ASK_S, of_flow=held))

    assert verdicts(other) == {}
    assert verdicts(joining) == {12: Verdict.DROP}
    assert verdicts(starting) == {13: Verdict.REJECT}
    assert counts(joining)[Counter.HELD_LIMIT] == counts(starting)[Counter.HELD_LIMIT] == 1
    assert verdicts(afterwards) == {}


def test_ten_thousand_flows_are_held_at_once() -> None:
    engine = new_engine()
    for packet_id in range(10_000):
        owner = process(f"/usr/bin/program-{packet_id % 100}")
        engine.receive(arrival(packet_id, of_flow=flow(dport=22, sport=packet_id), owner=owner))

    assert engine.held_flows == 10_000
    assert len(engine.questions) == 100
    assert len(verdicts(engine.receive(TimePassed(instant(ASK_S))))) == 10_000


def test_a_flow_of_nobody_known_gets_the_unattributed_action() -> None:
    commands = new_engine().receive(arrival(1, of_flow=flow(dport=999), owner=NOBODY))

    assert verdicts(commands) == {1: Verdict.DROP}
    assert records(commands)[0].decision.reason is Reason.UNATTRIBUTED
    assert counts(commands)[Counter.UNATTRIBUTED] == 1


def test_a_flow_that_no_rule_matches_gets_the_default() -> None:
    engine = new_engine(Ruleset(default=Action.DENY))

    (record,) = records(engine.receive(arrival(1)))

    assert record.decision.verdict is Verdict.DROP
    assert record.decision.reason is Reason.DEFAULT
    assert record.decision.rule is None


@pytest.mark.parametrize(
    ("event", "reason", "counter"),
    [
        (MalformedArrived(instant(), 5, "too short", "eth0"), Reason.MALFORMED, Counter.MALFORMED),
        (PacketFailed(instant(), 5, "KeyError", "eth0"), Reason.ERROR, Counter.ERRORS),
    ],
)
def test_what_cannot_be_judged_is_dropped_counted_and_recorded(
    event: Event, reason: Reason, counter: Counter
) -> None:
    commands = new_engine().receive(event)

    assert verdicts(commands) == {5: Verdict.DROP}
    assert records(commands)[0].decision.reason is reason
    assert counts(commands)[counter] == 1


def test_a_stop_releases_everything_held_and_holds_nothing_after() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=flow(dport=22)))

    assert verdicts(engine.receive(Stopping(instant(1)))) == {1: Verdict.REJECT}
    late = engine.receive(arrival(2, seconds=2, of_flow=flow(dport=22, sport=2)))
    assert verdicts(late) == {2: Verdict.REJECT}
    assert records(late)[0].decision.reason is Reason.STOPPING


def test_a_changed_ruleset_decides_from_then_on() -> None:
    engine = new_engine()
    engine.receive(RulesetChanged(instant(), Ruleset(default=Action.DENY), 2))

    assert verdicts(engine.receive(arrival(1))) == {1: Verdict.DROP}


def test_the_engine_asks_to_be_woken_for_the_earliest_deadline_only() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=flow(dport=22, sport=1)))
    other = process("/usr/bin/other")
    of_flow = flow(dport=22, sport=2)
    second = engine.receive(arrival(2, seconds=3, of_flow=of_flow, owner=other))
    assert [each for each in second if isinstance(each, WakeAt)] == []

    first_over = engine.receive(TimePassed(instant(ASK_S)))

    assert WakeAt(instant(ASK_S + 3).monotonic_ns) in first_over


packet_events = st.tuples(
    st.sampled_from([22, 23, 80, 81, 999]),  # dport
    st.integers(0, 5),  # sport: few, so that flows meet again
    st.booleans(),  # owner known
    st.sampled_from(["flow", "malformed", "failed"]),
)
steps = st.one_of(
    packet_events, st.floats(0, 15), st.sampled_from(["ask", "rules", "closed", "reviewed"])
)


def _packet_event(
    packet_id: int, seconds: float, step: tuple[int, int, bool, str]
) -> FlowArrived | MalformedArrived | PacketFailed:
    dport, sport, known, kind = step
    if kind == "malformed":
        return MalformedArrived(instant(seconds), packet_id, "for the test", "eth0")
    if kind == "failed":
        return PacketFailed(instant(seconds), packet_id, "for the test", "eth0")
    owner = process() if known else NOBODY
    return arrival(packet_id, seconds=seconds, of_flow=flow(dport=dport, sport=sport), owner=owner)


@given(st.lists(steps, max_size=60))
def test_every_packet_gets_exactly_one_verdict_whatever_happens(
    plot: list[tuple[int, int, bool, str] | float | str],
) -> None:
    engine = new_engine()
    given_verdicts: Tally[int] = Tally()
    seconds, packets, generation = 0.0, 0, 1

    def play(event: Event) -> None:
        for command in engine.receive(event):
            if isinstance(command, GiveVerdict):
                given_verdicts[command.packet_id] += 1

    for step in plot:
        if isinstance(step, tuple):
            packets += 1
            play(_packet_event(packets, seconds, step))
        elif isinstance(step, float):
            seconds += step
            play(TimePassed(instant(seconds)))
        elif step == "closed":
            play(SocketClosed(instant(seconds), 1))
        elif step == "reviewed":
            play(reviewed(flow(dport=22, sport=1), seconds=seconds))
        else:
            generation += 1
            rules = Ruleset(default=Action.ASK) if step == "ask" else RULES
            play(RulesetChanged(instant(seconds), rules, generation))
    play(Stopping(instant(seconds)))

    assert given_verdicts == dict.fromkeys(range(1, packets + 1), 1)
