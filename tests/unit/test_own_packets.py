"""Packets of our own: what dnslib and scapy read in them."""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from unittest.mock import patch

import pytest
from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from builders import datagrams, flow
from nfsnitch.adapters import own_packets
from nfsnitch.adapters.own_packets import MOST_ON_THEIR_WAY, OwnPackets, denial
from nfsnitch.core.flow import Flow

QUESTION = struct.pack("!6H", 4_711, 0x0100, 1, 0, 0, 0) + b"\1a\4test\0\0\1\0\1"
WITH_OPTIONS = (
    struct.pack("!6H", 4_711, 0x0120, 1, 0, 0, 1)
    + b"\1A\4Test\0\0\x1c\0\1"
    + struct.pack("!BHHBBHH", 0, 41, 4_096, 0, 0, 0x8000, 0)
)


class Wire:
    """In the place of a raw socket, which takes a right to open: what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.problem: OSError | None = None

    def sendto(self, packet: bytes, address: tuple[str, int]) -> None:
        """Take note."""
        if self.problem is not None:
            raise self.problem
        self.sent.append((packet, address))

    def close(self) -> None:
        """Do nothing."""


def sending(wire: Wire) -> OwnPackets:
    """Return what sends by *wire*."""
    with patch.object(own_packets, "_opened", lambda _family: wire):
        return OwnPackets()


def test_a_denial_says_that_there_is_no_such_name_and_repeats_the_question() -> None:
    answer = denial(QUESTION)
    assert answer is not None
    read = DNSRecord.parse(answer)

    assert (read.header.id, read.header.rcode, read.header.qr, read.header.ra) == (4_711, 3, 1, 1)
    assert (read.header.rd, read.header.aa, len(read.rr), len(read.auth)) == (1, 0, 0, 0)
    assert str(read.q.qname) == "a.test."
    assert answer[12:] == QUESTION[12:]


def test_a_question_with_options_gets_some_back_with_the_reason() -> None:
    answer = denial(WITH_OPTIONS)
    assert answer is not None
    (options,) = DNSRecord.parse(answer).ar

    assert (options.rtype, options.rclass, options.ttl) == (41, 1_232, 0x8000)
    assert answer.endswith(struct.pack("!HHH", 15, 2, 15)), "Blocked (RFC 8914)"
    assert b"\1A\4Test\0" in answer, "in the very letters of the question (0x20)"


@pytest.mark.parametrize(
    "question", [b"", QUESTION[:14], QUESTION[:-1], QUESTION[:12] + b"\xc0\x0c"]
)
def test_what_has_no_question_has_no_answer(question: bytes) -> None:
    assert denial(question) is None


@given(st.binary(max_size=80))
def test_whatever_the_question_is_nothing_raises(question: bytes) -> None:
    for each in (question, QUESTION[:12] + question, WITH_OPTIONS[:24] + question):
        answer = denial(each)
        assert answer is None or answer[12:] in each + answer[12:]


@pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])
def test_an_answer_comes_from_the_server_and_is_right_to_the_last_checksum(daddr: str) -> None:
    asked, wire = datagrams(daddr), Wire()
    with closing(sending(wire)) as own:
        assert own.deny_name(asked, QUESTION)
    ((packet, (target, _)),) = wire.sent
    read = _scapy(asked, packet)

    assert (read.src, read[UDP].sport, read[UDP].dport) == (daddr, 53, asked.sport)
    assert read.dst == target
    assert bytes(read[UDP].payload) == denial(QUESTION)
    assert _rebuilt(read) == packet


@pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])
def test_a_reset_is_just_what_the_server_expects_next(daddr: str) -> None:
    connection, wire = flow(daddr), Wire()
    with closing(sending(wire)) as own:
        assert own.reset_peer(connection, 4_000_000_000)
    ((packet, (target, _)),) = wire.sent
    read = _scapy(connection, packet)

    assert target == read.dst == daddr
    assert (read[TCP].flags, read[TCP].seq) == ("R", 4_000_000_000)
    assert _rebuilt(read) == packet


def test_a_packet_of_our_own_is_known_again_once() -> None:
    wire = Wire()
    with closing(sending(wire)) as own:
        own.deny_name(datagrams(), QUESTION)
        packet, _ = wire.sent[0]
        assert [own.is_ours(packet) for _ in range(2)] == [True, False]
        assert not own.is_ours(packet[:-1])


def test_of_many_packets_the_last_ones_are_known() -> None:
    wire = Wire()
    with closing(sending(wire)) as own:
        for _ in range(MOST_ON_THEIR_WAY + 10):
            own.deny_name(datagrams(), QUESTION)
        known = [own.is_ours(packet) for packet, _ in wire.sent]
    assert known == [False] * 10 + [True] * MOST_ON_THEIR_WAY


def test_what_cannot_be_sent_is_said_and_not_waited_for() -> None:
    wire = Wire()
    wire.problem = OSError("no route")
    with closing(sending(wire)) as own:
        assert not own.deny_name(datagrams(), QUESTION)
        assert not own.deny_name(datagrams(), b"")
    with (
        patch.object(socket, "socket", side_effect=PermissionError("no")),
        closing(OwnPackets()) as without_right,
    ):
        assert not without_right.reset_peer(flow(), 1)


def _scapy(of_flow: Flow, packet: bytes) -> IP | IPv6:
    return IP(packet) if len(of_flow.daddr) == 4 else IPv6(packet)


def _rebuilt(read: IP | IPv6) -> bytes:
    """Return the packet as scapy builds it, with all lengths and checksums of its own."""
    again = read.copy()
    for layer in (again, again.payload):
        for name in ("chksum", "len", "plen"):
            if name in layer.fields:
                del layer.fields[name]
    return bytes(again)
