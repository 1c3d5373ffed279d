"""The engine, as a play: what comes in, what must go out."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, flow, instant, process
from nfsnitch.core import engine as engine_module
from nfsnitch.core import memory
from nfsnitch.core.commands import (
    Command,
    Count,
    DistrustFlow,
    GiveVerdict,
    TrustFlow,
    WakeAt,
    WriteRecord,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
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
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule, Ruleset
from nfsnitch.core.unknown import Unknown

ASK_S = 10
NOBODY = Unknown("for the test")


@dataclass(frozen=True)
class ToPort:
    """A condition for tests: the destination port."""

    port: int
    field: str = "dport"

    def matches(self, flow: Flow, owner: Owner) -> bool:  # noqa: ARG002
        """Whether the flow goes there."""
        return flow.dport == self.port


@dataclass(frozen=True)
class ByProgram:
    """A condition for tests: the program."""

    path: str
    field: str = "exe"

    def matches(self, flow: Flow, owner: Owner) -> bool:  # noqa: ARG002
        """Whether this program sends it."""
        return isinstance(owner, Process) and owner.exe.path == self.path


RULES = Ruleset(
    rules=(
        Rule("web", Action.ALLOW, (ToPort(80),), "test:1"),
        Rule("tracker", Action.DENY, (ToPort(81),), "test:2"),
        Rule("telnet", Action.REJECT, (ToPort(23),), "test:3"),
        Rule("shell", Action.ASK, (ToPort(22),), "test:4"),
    ),
    default=Action.ASK,
    unattributed=Action.DENY,
    unanswered=Action.REJECT,
    ask_timeout_ns=ASK_S * 1_000_000_000,
)


def new_engine(ruleset: Ruleset = RULES) -> Engine:
    return Engine(ruleset, netns=1)


def verdicts(commands: list[Command]) -> dict[int, Verdict]:
    return {each.packet_id: each.verdict for each in commands if isinstance(each, GiveVerdict)}


def records(commands: list[Command]) -> list[Record]:
    return [each.record for each in commands if isinstance(each, WriteRecord)]


def counts(commands: list[Command]) -> dict[Counter, int]:
    tally: Tally[Counter] = Tally()
    for each in commands:
        if isinstance(each, Count):
            tally[each.counter] += each.amount
    return dict(tally)


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


def test_packets_over_the_bound_of_a_held_flow_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "MAX_PACKETS_OF_HELD_FLOW", 2)
    engine = new_engine()
    held = flow(dport=22)
    engine.receive(arrival(1, of_flow=held))
    engine.receive(arrival(2, of_flow=held))

    over = engine.receive(arrival(3, of_flow=held))

    assert verdicts(over) == {3: Verdict.DROP}
    assert counts(over)[Counter.HELD_LIMIT] == 1


def test_flows_over_the_number_that_may_be_held_are_unanswered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "MAX_HELD_FLOWS", 3)
    engine = new_engine()
    for packet_id in range(3):
        engine.receive(arrival(packet_id, of_flow=flow(dport=22, sport=packet_id)))

    over = engine.receive(arrival(9, of_flow=flow(dport=22, sport=9)))

    assert verdicts(over) == {9: Verdict.REJECT}
    assert records(over)[0].decision.reason is Reason.HELD_LIMIT
    assert counts(over)[Counter.HELD_LIMIT] == 1
    assert engine.held_flows == 3


def test_ten_thousand_flows_are_held_at_once() -> None:
    engine = new_engine()
    for packet_id in range(10_000):
        engine.receive(arrival(packet_id, of_flow=flow(dport=22, sport=packet_id)))

    assert engine.held_flows == 10_000
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
    engine.receive(RulesetChanged(instant(), Ruleset(default=Action.DENY)))

    assert verdicts(engine.receive(arrival(1))) == {1: Verdict.DROP}


def test_the_engine_asks_to_be_woken_for_the_earliest_deadline_only() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=flow(dport=22, sport=1)))
    second = engine.receive(arrival(2, seconds=3, of_flow=flow(dport=22, sport=2)))
    assert [each for each in second if isinstance(each, WakeAt)] == []

    first_over = engine.receive(TimePassed(instant(ASK_S)))

    assert WakeAt(instant(ASK_S + 3).monotonic_ns) in first_over


def test_a_flow_decided_alike_again_is_recorded_once_a_minute() -> None:
    engine = new_engine()
    denied = flow(dport=81)

    first = engine.receive(arrival(1, of_flow=denied))
    again = engine.receive(arrival(2, seconds=1, of_flow=denied))
    later = engine.receive(arrival(3, seconds=61, of_flow=denied))

    assert [len(records(commands)) for commands in (first, again, later)] == [1, 0, 1]
    assert verdicts(again) == {2: Verdict.DROP}
    assert counts(again)[Counter.REPEATED] == 1


DATAGRAM = flow(dport=80)._replace(proto=Protocol.UDP)


def trusted(commands: list[Command]) -> list[Flow]:
    return [each.flow for each in commands if isinstance(each, TrustFlow)]


def distrusted(commands: list[Command]) -> list[Flow]:
    return [each.flow for each in commands if isinstance(each, DistrustFlow)]


def test_an_accepted_datagram_flow_is_trusted_from_its_second_packet_on() -> None:
    engine = new_engine()

    assert trusted(engine.receive(arrival(1, of_flow=DATAGRAM))) == []
    assert trusted(engine.receive(arrival(2, of_flow=DATAGRAM))) == [DATAGRAM]


def test_trust_is_renewed_when_conntrack_may_have_forgotten_the_flow_but_not_each_time() -> None:
    engine = new_engine()
    times = (0, 0.1, 0.2, 0.3, 30, 30.1)

    played = [engine.receive(arrival(n, seconds=s, of_flow=DATAGRAM)) for n, s in enumerate(times)]

    assert [len(trusted(commands)) for commands in played] == [0, 1, 0, 0, 1, 0]


def test_a_second_socket_with_the_same_tuple_does_not_inherit_trust() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=DATAGRAM, sock_cookie=1))

    other = engine.receive(arrival(2, of_flow=DATAGRAM, sock_cookie=2))

    assert trusted(other) == []
    assert len(records(other)) == 1


def test_trust_ends_when_the_socket_is_closed() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=DATAGRAM))
    engine.receive(arrival(2, of_flow=DATAGRAM))

    assert distrusted(engine.receive(SocketClosed(instant(1), 1))) == [DATAGRAM]
    assert distrusted(engine.receive(SocketClosed(instant(2), 1))) == []


@pytest.mark.parametrize(
    ("of_flow", "sock_cookie"),
    [
        (flow(dport=80), 1),  # TCP: conntrack knows its end
        (DATAGRAM, Unknown("not found")),
        (DATAGRAM._replace(dport=81), 1),  # denied
    ],
)
def test_tcp_and_flows_of_unknown_sockets_and_denied_ones_are_never_trusted(
    of_flow: Flow, sock_cookie: int | Unknown
) -> None:
    engine = new_engine()
    for packet_id in range(5):
        event = arrival(packet_id, of_flow=of_flow, sock_cookie=sock_cookie)
        assert trusted(engine.receive(event)) == []


def test_sockets_over_the_number_that_may_be_trusted_go_on_being_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MAX_TRUSTED_SOCKETS", 1)
    engine = new_engine()
    other = DATAGRAM._replace(sport=2)
    for packet_id in (1, 2):
        engine.receive(arrival(packet_id, of_flow=DATAGRAM, sock_cookie=1))
    engine.receive(arrival(3, of_flow=other, sock_cookie=2))

    assert trusted(engine.receive(arrival(4, of_flow=other, sock_cookie=2))) == []


def test_a_packet_of_one_of_two_owners_gets_the_stricter_decision() -> None:
    by_program = Ruleset(
        rules=(Rule("curl", Action.ALLOW, (ByProgram("/usr/bin/curl"),), "test:1"),),
        default=Action.DENY,
    )
    curl, other = process("/usr/bin/curl"), process("/opt/other")

    for owner, rival in ((curl, other), (other, curl)):
        event = arrival(1, owner=owner, rivals=(rival,))
        commands = new_engine(by_program).receive(event)
        assert verdicts(commands) == {1: Verdict.DROP}
        assert records(commands)[0].rivals == (rival,)
    both_curl = arrival(1, owner=curl, rivals=(curl,))
    assert verdicts(new_engine(by_program).receive(both_curl)) == {1: Verdict.ACCEPT}


def test_a_held_flow_keeps_its_owner_when_its_tuple_becomes_anothers() -> None:
    engine = new_engine()
    asked = flow(dport=22)
    engine.receive(arrival(1, of_flow=asked, sock_cookie=1, owner=process("/bin/one")))
    engine.receive(arrival(2, of_flow=asked, sock_cookie=2, owner=process("/bin/two")))

    over = engine.receive(TimePassed(instant(ASK_S)))

    assert [record.owner for record in records(over)] == [process("/bin/one"), process("/bin/two")]


packet_events = st.tuples(
    st.sampled_from([22, 23, 80, 81, 999]),  # dport
    st.integers(0, 5),  # sport: few, so that flows meet again
    st.booleans(),  # owner known
    st.sampled_from(["flow", "malformed", "failed"]),
)
steps = st.one_of(packet_events, st.floats(0, 15), st.sampled_from(["rules", "closed"]))


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
    seconds, packets = 0.0, 0

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
        else:
            play(RulesetChanged(instant(seconds), Ruleset(default=Action.ASK)))
    play(Stopping(instant(seconds)))

    assert given_verdicts == dict.fromkeys(range(1, packets + 1), 1)
