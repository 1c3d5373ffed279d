"""DNS over TCP: messages put together again however the segments come, and nothing of strangers."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naming_play import NamePlay, answer, question, received, sent, user_process
from nfsnitch.core.flow import Protocol
from nfsnitch.core.name_sample import Direction, DnsPacket, TcpPlace
from nfsnitch.naming.streams import MOST_AHEAD, Message, Streams

OUR_SEQ, THEIR_SEQ = 4_294_967_290, 77_000
"""Ours wraps around at once."""
FIN, SYN, RST, ACK = 1, 2, 4, 16


def framed(*payloads: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2) + each for each in payloads)


def ours(data: bytes = b"", offset: int = 0, flags: int = ACK, cookie: int = 1) -> DnsPacket:
    """Return a segment of ours; *offset*: of its first byte in what we send."""
    seq = (OUR_SEQ + offset + (not flags & SYN)) % (1 << 32)
    place = TcpPlace(seq, 0, flags)
    return sent(data, cookie)._replace(proto=Protocol.TCP, tcp=place)


def theirs(
    data: bytes = b"", offset: int = 0, flags: int = ACK, cookie: int = 1, seq: int = THEIR_SEQ
) -> DnsPacket:
    seq = (seq + offset + (not flags & SYN)) % (1 << 32)
    place = TcpPlace(seq, (OUR_SEQ + 1) % (1 << 32), flags)
    return received(data, cookie)._replace(proto=Protocol.TCP, tcp=place)


def opened(cookie: int = 1, **bounds: int) -> Streams:
    streams = Streams(**bounds)
    streams.feed(ours(flags=SYN, cookie=cookie))
    streams.feed(theirs(flags=SYN | ACK, cookie=cookie))
    return streams


def whole(*payloads: bytes) -> list[Message]:
    return [Message(each, is_cut=False) for each in payloads]


def test_nobody_pushes_out_the_connections_of_another_user() -> None:
    streams = Streams(most=10)
    streams.feed(ours(flags=SYN), 1_000)
    streams.feed(theirs(flags=SYN | ACK), 1_000)
    for cookie in range(2, 100):
        streams.feed(ours(flags=SYN, cookie=cookie), 1_001)

    assert len(streams) == 10
    assert streams.feed(theirs(framed(b"message")), 1_000) == whole(b"message")


def test_several_messages_in_one_segment_are_all_read() -> None:
    assert opened().feed(theirs(framed(b"one", b"two"))) == whole(b"one", b"two")


def test_a_message_in_segments_of_one_byte_is_read_when_it_is_whole() -> None:
    streams, data = opened(), framed(b"message")
    messages = [streams.feed(ours(data[at : at + 1], at)) for at in range(len(data))]
    assert messages == [[]] * (len(data) - 1) + [whole(b"message")]


def test_what_was_sent_with_the_syn_is_read_and_not_twice() -> None:
    streams, data = Streams(), framed(b"message")
    assert streams.feed(ours(data, flags=SYN)) == whole(b"message")
    assert streams.feed(ours(data)) == []


def test_a_stream_of_which_the_beginning_was_not_seen_says_nothing() -> None:
    streams = Streams()
    assert streams.feed(theirs(framed(b"one"))) == []
    assert streams.feed(ours(framed(b"one"))) == []
    assert len(streams) == 0


def test_segments_of_strangers_are_left_alone() -> None:
    """They know addresses and ports, and not the numbers."""
    streams = Streams()
    streams.feed(ours(flags=SYN))
    stranger = theirs(flags=SYN | ACK, seq=1)
    streams.feed(stranger._replace(tcp=TcpPlace(1, OUR_SEQ - 5, SYN | ACK)))
    assert streams.feed(theirs(framed(b"forged"), seq=1)) == []
    streams.feed(theirs(flags=SYN | ACK))
    draw = random.Random(6)  # noqa: S311  which numbers strangers try
    for _ in range(1_000):
        seq = draw.randrange(1 << 20, 1 << 31)
        assert streams.feed(theirs(framed(b"forged"), seq)) == []
    other_end = theirs(framed(b"forged"))._replace(remote=b"\xc6\x33\x64\x01")
    assert streams.feed(other_end) == []
    assert streams.feed(theirs(framed(b"true"))) == whole(b"true")


def test_of_a_message_that_was_not_copied_whole_the_beginning_is_told_and_nothing_after() -> None:
    streams = opened()
    data = framed(b"one", b"and a long one")
    cut = theirs(data[:-4])._replace(is_cut=True)
    assert streams.feed(cut) == [*whole(b"one"), Message(b"and a long", is_cut=True)]
    assert streams.feed(theirs(framed(b"three"), len(data))) == []


def test_a_stream_with_a_gap_that_is_never_filled_is_given_up_and_counted() -> None:
    streams = opened()
    for at in range(MOST_AHEAD + 1):
        assert streams.feed(theirs(b"x", 10 + at)) == []
    assert streams.forgotten == 1
    assert streams.feed(theirs(framed(b"12345678" * 10))) == []


def test_of_too_many_streams_the_oldest_is_given_up_and_counted() -> None:
    streams = opened(cookie=1, most=2)
    for cookie in (2, 3):
        streams.feed(ours(flags=SYN, cookie=cookie))
    assert (len(streams), streams.forgotten) == (2, 1)
    assert streams.feed(theirs(framed(b"one"), cookie=1)) == []


def test_streams_take_no_more_memory_than_they_may() -> None:
    streams = opened(cookie=1, most_bytes=1_000)
    streams.feed(theirs(framed(b"x" * 2_000)[:900], cookie=1))
    streams.feed(ours(flags=SYN, cookie=2))
    streams.feed(ours(framed(b"x" * 2_000)[:900], cookie=2))
    assert (len(streams), streams.forgotten) == (1, 1)


def test_a_connection_that_has_ended_is_followed_no_longer() -> None:
    streams = opened()
    assert streams.feed(theirs(framed(b"bye"), flags=FIN | ACK)) == whole(b"bye")
    assert (len(streams), streams.forgotten) == (0, 0)


@settings(max_examples=300)
@given(st.data(), st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_however_segments_come_the_messages_are_the_same(
    data: st.DataObject, payloads: list[bytes]
) -> None:
    """Cut anywhere, sent twice, overlapping, in any order."""
    text = framed(*payloads)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    places = [0, *sorted(cuts), len(text)]
    pieces = [(a, b) for a, b in itertools.pairwise(places) if a < b]
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=5))
    longer = [(max(0, a - 3), min(len(text), b + 3)) for a, b in again]
    streams, messages = opened(), list[Message]()
    for begin, end in data.draw(st.permutations(pieces + longer)):
        messages += streams.feed(theirs(text[begin:end], begin))
    assert messages == whole(*payloads)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Direction.SENT, Direction.RECEIVED]),
            st.integers(0, 3),
            st.integers(0, 31),
            st.integers(0, 1 << 19),
            st.binary(max_size=40),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_segments_make_it_fail_or_grow(
    segments: list[tuple[Direction, int, int, int, bytes, bool]],
) -> None:
    streams = Streams(most=2, most_bytes=100)
    for direction, cookie, flags, offset, data, is_cut in segments:
        make = ours if direction is Direction.SENT else theirs
        packet = make(data, offset, flags, cookie)._replace(is_cut=is_cut)
        streams.feed(packet)
        assert len(streams) <= 2
        assert 0 <= streams.size_bytes <= 100


@pytest.mark.parametrize("forged_syn", [False, True])
def test_names_are_known_from_answers_over_tcp(*, forged_syn: bool) -> None:
    play, asker = NamePlay(), user_process(pid=1)
    play.owners[1] = asker
    asked = question("www.example.org")
    play.names.take(ours(flags=SYN))
    if forged_syn:
        play.names.take(theirs(flags=SYN | ACK)._replace(tcp=TcpPlace(5, 5, SYN | ACK)))
    play.names.take(theirs(flags=SYN | ACK))
    play.names.take(ours(framed(bytes(asked.pack()))))
    play.names.take(theirs(framed(answer(asked, "www.example.org 60 A 192.0.2.1"))))
    assert play.texts(asker, "192.0.2.1") == ["www.example.org"]
