"""Trust, repetition and tuples that change hands: what the engine remembers of flows."""

from __future__ import annotations

import pytest

from builders import arrival, flow, instant, process
from engine_play import ASK_S, ByProgram, counts, new_engine, records, verdicts
from nfsnitch.core import memory
from nfsnitch.core.commands import Command, DistrustFlow, TrustFlow
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Verdict
from nfsnitch.core.events import SocketClosed, TimePassed
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.rule import Rule, Ruleset
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
