"""What plays of flows that say their name themselves have in common."""

from __future__ import annotations

from builders import arrival, datagrams, flow
from engine_play import records, verdicts
from nfsnitch.adapters.quic_cipher import QuicCipher
from nfsnitch.core.commands import (
    Command,
)
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    FlowArrived,
)
from nfsnitch.core.name_conditions import HOST_FIELD, HostCondition, HostNames
from nfsnitch.core.name_sample import TcpPlace
from nfsnitch.core.question_refusal import Readers
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.segment import ACK, SYN, Segment

FINE, BAD = "fine.example", "bad.example"


def host_rule(name: str, action: Action, unknown: Action | None = None) -> Rule:
    """Return a rule for a host."""
    wanted = HostNames(frozenset({name}), frozenset())
    return Rule(
        name, action, (HostCondition(HOST_FIELD, wanted),), "test:1", on_unknown_name=unknown
    )


RULES = Ruleset(
    rules=(host_rule(BAD, Action.REJECT), host_rule(FINE, Action.ALLOW)),
    default=Action.DENY,
    unattributed=Action.DENY,
)
NO_NAMES = Ruleset(default=Action.DENY)
REQUEST = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n"
WEB, QUIC = flow(dport=443), datagrams(dport=443)
SEQ = 2**32 - 3
"""So that it begins anew in the midst of the data."""


def engine(rules: Ruleset = RULES) -> Engine:
    """Return an engine that can read QUIC."""
    return Engine(rules, 1, Readers(QuicCipher()))


def segment(
    data: bytes = b"", flags: int = ACK, seq: int = SEQ + 1, *, is_cut: bool = False
) -> Segment:
    """Return what a TCP packet carries."""
    return Segment(data, is_cut, TcpPlace(seq % 2**32, 1, flags))


OPENING = segment(flags=SYN, seq=SEQ)


def tcp(
    packet_id: int, carries: Segment, *, seconds: float = 0, sock_cookie: int = 1
) -> FlowArrived:
    """Return a packet of a connection to a web server."""
    event = arrival(packet_id, seconds=seconds, of_flow=WEB, sock_cookie=sock_cookie)
    return event._replace(segment=carries)


def udp(packet_id: int, data: bytes, *, seconds: float = 0) -> FlowArrived:
    """Return a datagram to the same port."""
    return arrival(packet_id, seconds=seconds, of_flow=QUIC)._replace(segment=Segment(data))


def opened(rules: Ruleset = RULES) -> Engine:
    """Return an engine that has let a connection out."""
    opened_engine = engine(rules)
    assert verdicts(opened_engine.receive(tcp(1, OPENING))) == {1: Verdict.PEEK}
    assert verdicts(opened_engine.receive(tcp(2, segment()))) == {2: Verdict.PEEK}
    return opened_engine


def hosts(commands: list[Command]) -> list[tuple[str | None, Reason]]:
    """Return which rules decided, and why."""
    return [(each.decision.rule, each.decision.reason) for each in records(commands)]
