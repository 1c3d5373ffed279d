"""Trust, repetition and tuples that change hands: what the engine remembers of flows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import arrival, flow, instant, process
from engine_play import ASK_S, RULES, ByProgram, counts, new_engine, records, verdicts
from nfsnitch.core.commands import Command, DistrustFlow, TrustFlow
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import SocketClosed, TimePassed
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Limits, Settings
from nfsnitch.core.unknown import Unknown


def test_a_flow_decided_alike_again_is_recorded_once_a_minute() -> None:
    engine = new_engine()
    denied = flow(dport=81)

    first = engine.receive(arrival(1, of_flow=denied))
    again = engine.receive(arrival(2, seconds=1, of_flow=denied))
    later = engine.receive(arrival(3, seconds=61, of_flow=denied))

    assert [len(records(commands)) for commands in (first, again, later)] == [1, 0, 1]
    assert verdicts(again) == {2: Verdict.DROP}
    assert counts(again)[Counter.REPEATED] == 1


TWO_TRUSTED = replace(RULES, settings=Settings(limits=Limits(trusted_flows=2)))
DATAGRAM = flow(dport=80)._replace(proto=Protocol.UDP)


def trusted(commands: list[Command]) -> list[Flow]:
    return [each.flow for each in commands if isinstance(each, TrustFlow)]


def distrusted(commands: list[Command]) -> list[Flow]:
    return [each.flow for each in commands if isinstance(each, DistrustFlow)]


def sent(
    engine: Engine, of_flow: Flow = DATAGRAM, sock_cookie: int = 1, packets: int = TRUST_AFTER
) -> list[Flow]:
    """Let a socket send packets; returns the flows that came to be trusted."""
    events = (arrival(n, of_flow=of_flow, sock_cookie=sock_cookie) for n in range(packets))
    return [each for event in events for each in trusted(engine.receive(event))]


def test_an_accepted_datagram_flow_is_trusted_from_its_eighth_packet_on() -> None:
    engine = new_engine()

    assert TRUST_AFTER == 8
    assert sent(engine, packets=7) == []
    assert sent(engine, packets=1) == [DATAGRAM]


def test_packets_of_a_flow_that_was_recorded_anew_still_count_towards_trust() -> None:
    engine = new_engine()
    seconds = (0, 61, 122, 183, 244, 305, 366, 427, 428)

    played = [
        engine.receive(arrival(n, seconds=s, of_flow=DATAGRAM)) for n, s in enumerate(seconds)
    ]

    assert [len(records(commands)) for commands in played] == [1] * 8 + [0]
    assert trusted(played[-1]) == [DATAGRAM]


def test_another_sockets_packet_in_between_makes_the_count_begin_anew() -> None:
    engine = new_engine()
    sent(engine, sock_cookie=1, packets=7)
    sent(engine, sock_cookie=2, packets=1)

    assert sent(engine, sock_cookie=1, packets=7) == []
    assert sent(engine, sock_cookie=1, packets=1) == [DATAGRAM]


def test_another_decision_in_between_makes_the_count_begin_anew() -> None:
    by_program = Ruleset(
        rules=(Rule("curl", Action.ALLOW, (ByProgram("/usr/bin/curl"),), "test:1"),),
        default=Action.DENY,
    )
    engine = new_engine(by_program)
    sent(engine, packets=7)
    engine.receive(arrival(1, of_flow=DATAGRAM, owner=process("/opt/other")))

    assert sent(engine, packets=7) == []
    assert sent(engine, packets=1) == [DATAGRAM]


def test_packets_that_may_be_a_rivals_do_not_count_towards_trust() -> None:
    engine = new_engine()
    for packet_id in range(20):
        event = arrival(packet_id, of_flow=DATAGRAM, rivals=(process(),))
        assert trusted(engine.receive(event)) == []

    assert sent(engine, packets=7) == []


def test_a_socket_that_shares_its_port_is_never_trusted() -> None:
    engine = new_engine()

    for packet_id in range(3 * TRUST_AFTER):
        event = arrival(packet_id, of_flow=DATAGRAM, shares_port=True)
        assert trusted(engine.receive(event)) == []


def test_what_a_closed_socket_has_left_in_the_queue_is_never_trusted() -> None:
    engine = new_engine()

    for packet_id in range(3 * TRUST_AFTER):
        event = arrival(packet_id, of_flow=DATAGRAM, is_closed=True)
        assert trusted(engine.receive(event)) == []


def test_trust_is_renewed_when_conntrack_may_have_forgotten_the_flow_but_not_each_time() -> None:
    engine = new_engine()
    sent(engine, packets=6)
    times = (0, 0.1, 0.2, 0.3, 30, 30.1)

    played = [engine.receive(arrival(n, seconds=s, of_flow=DATAGRAM)) for n, s in enumerate(times)]

    assert [len(trusted(commands)) for commands in played] == [0, 1, 0, 0, 1, 0]


def test_a_second_socket_with_the_same_tuple_does_not_inherit_trust() -> None:
    engine = new_engine()
    sent(engine, sock_cookie=1)

    other = engine.receive(arrival(2, of_flow=DATAGRAM, sock_cookie=2))

    assert trusted(other) == []
    assert len(records(other)) == 1


def test_trust_ends_when_the_socket_is_closed() -> None:
    engine = new_engine()
    sent(engine)

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
    for packet_id in range(3 * TRUST_AFTER):
        event = arrival(packet_id, of_flow=of_flow, sock_cookie=sock_cookie)
        assert trusted(engine.receive(event)) == []


@pytest.mark.parametrize("sock_cookies", [(1, 1, 1), (1, 2, 3)])
def test_flows_over_the_number_that_may_be_trusted_go_on_being_judged_whosever_they_are(
    sock_cookies: tuple[int, ...],
) -> None:
    engine = new_engine(TWO_TRUSTED)
    flows = [DATAGRAM._replace(sport=sport) for sport in (1, 2, 3)]

    trusted_now = [
        sent(engine, each, cookie) for each, cookie in zip(flows, sock_cookies, strict=True)
    ]

    assert trusted_now == [[flows[0]], [flows[1]], []]
    assert sent(engine, flows[2], sock_cookies[2]) == []


def test_a_closed_socket_makes_room_for_as_many_flows_as_it_had_trusted() -> None:
    engine = new_engine(TWO_TRUSTED)
    flows = [DATAGRAM._replace(sport=sport) for sport in range(1, 6)]
    for each in flows[:2]:
        sent(engine, each, 1)

    for _ in range(2):  # the second time it has none
        engine.receive(SocketClosed(instant(0), 1))

    assert [sent(engine, each, 2) for each in flows[2:]] == [[flows[2]], [flows[3]], []]


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
