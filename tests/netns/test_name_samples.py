"""What eBPF copies of DNS: all answers that were asked for, before the program has them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from name_play import (
    DNS_PORT,
    Listener,
    answer,
    cookie_of,
    exchange,
    is_readable,
    listener,
    question,
    read_all,
    server,
    take_all,
)
from nfsnitch.adapters import netns
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Protocol, packed_address
from nfsnitch.core.name_sample import Direction, DnsPacket

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.vm_guest(modes=("lsm",)),
]

LOCALHOST = "127.0.0.1"
SYN, SYN_ACK = 2, 18
ANSWERS_TO_ONE = 8
"""bpf/names.h"""
FORGED = 10_000


@pytest.fixture(name="heard", scope="module")
def fixture_heard() -> Iterator[Listener]:
    with listener() as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_from_before(heard: Listener) -> None:
    heard.heard()


@pytest.mark.vm_guest
@pytest.mark.parametrize("address", [LOCALHOST, "::1"])
def test_a_question_and_its_answer_are_heard_with_all_that_tells_whose_they_are(
    heard: Listener, address: str
) -> None:
    with server(address) as resolver, heard.asker(resolver.family) as asker:
        asker.connect((address, DNS_PORT))
        came = exchange(asker, resolver, question())
        sent, received = heard.packets()
        port, cookie = asker.getsockname()[1], cookie_of(asker)

    packed = packed_address(address)
    for packet, direction, payload in (
        (sent, Direction.SENT, question()),
        (received, Direction.RECEIVED, came),
    ):
        assert packet == DnsPacket(
            *(direction, cookie, netns.cookie(), Protocol.UDP, packed, port, packed, payload),
            is_cut=False,
            seen_ns=packet.seen_ns,
        )
    assert 0 < sent.seen_ns < received.seen_ns


def test_who_is_not_connected_is_heard_the_same(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.sendto(question(), (LOCALHOST, DNS_PORT))
        _, where = resolver.recvfrom(512)
        resolver.sendto(answer(question()), where)
        asker.recv(512)
        sent, received = heard.packets()

    assert (sent.remote, received.remote) == (packed_address(LOCALHOST),) * 2
    assert (sent.local_port, received.local_port) == (where[1],) * 2


def test_ipv4_by_a_socket_of_ipv6_is_heard_as_ipv4(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker(socket.AF_INET6) as asker:
        asker.connect((f"::ffff:{LOCALHOST}", DNS_PORT))
        exchange(asker, resolver, question())

        assert {(each.local, each.remote) for each in heard.packets()} == {
            (packed_address(LOCALHOST), packed_address(LOCALHOST))
        }


@pytest.mark.timeout(600)
def test_a_thousand_of_a_thousand_answers_are_there_when_the_program_has_them(
    heard: Listener,
) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        there = 0
        for number in range(1_000):
            came = exchange(asker, resolver, question(number))
            there += any(
                isinstance(each, DnsPacket) and each.payload == came
                for each in heard.samples.drain()
            )

    assert there == 1_000


def test_a_connection_is_heard_from_its_first_segment_on(heard: Listener) -> None:
    asked, answered = framed(question()), framed(answer(question(), bytes(900)))
    with (
        server(LOCALHOST, socket.SOCK_STREAM) as resolver,
        heard.asker(kind=socket.SOCK_STREAM) as asker,
    ):
        asker.connect((LOCALHOST, DNS_PORT))
        served, _ = resolver.accept()
        with served:
            asker.sendall(asked)
            read_all(served, len(asked))
            served.sendall(answered)
            assert read_all(asker, len(answered)) == answered
            packets, cookie = heard.packets(), cookie_of(asker)

    assert {each.sock_cookie for each in packets} == {cookie}
    assert {each.proto for each in packets} == {Protocol.TCP}
    for direction, flags, stream in (
        (Direction.SENT, SYN, asked),
        (Direction.RECEIVED, SYN_ACK, answered),
    ):
        first, *others = [each for each in packets if each.direction is direction]
        assert first.tcp is not None
        assert (first.tcp.flags, first.payload) == (flags, b"")
        found = bytearray(len(stream))
        for each in others:
            assert each.tcp is not None
            at = (each.tcp.seq - first.tcp.seq - 1) % 2**32
            found[at : at + len(each.payload)] = each.payload
        assert found == stream


def framed(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


@pytest.mark.parametrize("size", [12, 128, 129, 512, 513, 1536, 1537, 4608])
def test_a_message_is_copied_whole_up_to_the_largest_size(heard: Listener, size: int) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        asked = question()[:12]
        came = exchange(asker, resolver, asked, bytes(range(256)) * 18)
        asker.send(asked)
        _, where = resolver.recvfrom(512)
        heard.heard()
        resolver.sendto(came[:size], where)
        assert asker.recv(65_536) == came[:size]
        (packet,) = heard.packets()

    assert (packet.payload, packet.is_cut) == (came[:size], False)


def test_of_what_is_longer_the_beginning_is_copied_and_said_to_be_that(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        came = exchange(asker, resolver, question(), bytes(range(256)) * 100)
        _, packet = heard.packets()

    assert (packet.payload, packet.is_cut) == (came[:4608], True)


@pytest.mark.timeout(600)
def test_ten_thousand_answers_that_nobody_asked_for_are_counted_and_never_heard(
    heard: Listener,
) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        asker.send(question(77))
        _, where = resolver.recvfrom(512)
        heard.heard()
        before = heard.counted(Counter.NAMES_UNASKED)
        for number in range(FORGED):
            resolver.sendto(answer(question(), number=78 + number), where)

        assert heard.packets() == []
        assert heard.counted(Counter.NAMES_UNASKED) - before == FORGED


def test_an_answer_to_another_sockets_question_is_not_heard(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker, heard.asker() as other:
        other.bind((LOCALHOST, 0))
        asker.sendto(question(), (LOCALHOST, DNS_PORT))
        heard.heard()
        resolver.sendto(answer(question()), other.getsockname())

        assert other.recv(512) == answer(question())
        assert heard.packets() == []


def test_one_question_has_no_more_answers_than_a_few(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        for _ in range(2):  # asked again, there may be as many again
            asker.send(question())
            _, where = resolver.recvfrom(512)
            heard.heard()
            for _ in range(5 * ANSWERS_TO_ONE):
                resolver.sendto(answer(question()), where)

            assert len(heard.packets()) == ANSWERS_TO_ONE


def test_a_resolver_that_is_asked_is_not_taken_for_one_who_asks(heard: Listener) -> None:
    with heard.listening_here():
        resolver = server(LOCALHOST)
    with resolver, server("127.0.0.2") as asker:
        asker.connect((LOCALHOST, DNS_PORT))  # by port 53, too
        exchange(asker, resolver, question())

        assert heard.packets() == []


def test_what_is_no_dns_is_not_copied_though_it_goes_to_port_53(heard: Listener) -> None:
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        where = asker.getsockname()
        for payload in (b"", b"x", bytes(11), b"\xff" * 600, bytes(12), question()[:5] + b"\x02"):
            asker.send(payload)
        for payload in (b"", bytes(11), question()):
            resolver.sendto(payload, where)

        assert heard.packets() == []


def test_other_ports_are_not_listened_to(heard: Listener) -> None:
    with server(LOCALHOST, port=5353) as resolver, heard.asker() as asker, heard.asker() as free:
        asker.connect((LOCALHOST, 5353))
        exchange(asker, resolver, question())
        free.sendto(question(), (LOCALHOST, 5353))

        assert heard.packets() == []


def test_a_flood_of_questions_is_counted_as_lost_and_does_not_last(heard: Listener) -> None:
    before = heard.counted(Counter.NAMES_LOST)
    with server(LOCALHOST) as resolver, heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        for number in range(8_000):
            asker.send(question(number))
        lost = heard.counted(Counter.NAMES_LOST) - before
        assert lost > 0
        assert len(heard.packets()) == 8_000 - lost
        take_all(resolver)
        exchange(asker, resolver, question())
        assert len(heard.packets()) == 2
    assert heard.counted(Counter.NAMES_LOST) - before == lost


def test_an_event_loop_is_told_when_the_samples_are_many(heard: Listener) -> None:
    assert not is_readable(heard.samples)
    with server(LOCALHOST), heard.asker() as asker:
        asker.connect((LOCALHOST, DNS_PORT))
        asker.send(question())
        assert not is_readable(heard.samples)
        for number in range(2_000):
            asker.send(question(number))
        assert is_readable(heard.samples)
        heard.heard()
