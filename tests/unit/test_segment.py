"""What packets carry: found behind all headers that there may be, and never by raising."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.flow import Flow
from nfsnitch.core.packet import parse
from nfsnitch.core.segment import ACK, SYN, Segment, read_segment

ADDRESSES4, ADDRESSES6 = bytes((192, 0, 2, 2, 192, 0, 2, 1)), bytes(32)
TCP = struct.pack("!HHIIBBHHH", 40_000, 443, 77, 88, 0x60, ACK, 1, 0, 0) + b"\1\1\1\1"
UDP = struct.pack("!HHHH", 40_000, 443, 12, 0)


def ipv4(
    proto: int, payload: bytes, *, options: bytes = b"", fragment: int = 0, total: int | None = None
) -> bytes:
    """Return a packet of IPv4."""
    size = 20 + len(options)
    length = size + len(payload) if total is None else total
    first = 0x40 | size // 4
    head = struct.pack("!BBHHHBBH", first, 0, length, 1, fragment, 64, proto, 0)
    return head + ADDRESSES4 + options + payload


def ipv6(proto: int, payload: bytes, *, length: int | None = None) -> bytes:
    """Return a packet of IPv6."""
    length = len(payload) if length is None else length
    return struct.pack("!IHBB", 6 << 28, length, proto, 64) + ADDRESSES6 + payload


def read(packet: bytes) -> Segment | None:
    """Return what a packet carries."""
    flow = parse(packet)
    assert isinstance(flow, Flow)
    return read_segment(packet, flow)


AH = bytes((6, 4, 0, 0)) + bytes(20)
DESTINATION_OPTIONS = bytes((6, 0, 1, 4, 0, 0, 0, 0))


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(6, TCP + b"data"),
        ipv4(6, TCP + b"data", options=b"\1\1\1\0"),
        ipv4(51, AH + TCP + b"data"),
        ipv4(6, TCP + b"data") + b"padding of the wire",
        ipv6(6, TCP + b"data"),
        ipv6(60, DESTINATION_OPTIONS + TCP + b"data"),
    ],
    ids=["IPv4", "options", "AH", "padding", "IPv6", "extension header"],
)
def test_data_is_found_behind_all_headers(packet: bytes) -> None:
    segment = read(packet)

    assert segment is not None
    assert (segment.data, segment.is_cut) == (b"data", False)
    assert segment.tcp is not None
    assert (segment.tcp.seq, segment.tcp.ack, segment.tcp.flags) == (77, 88, ACK)


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(6, TCP + b"data", total=4_000),
        ipv4(6, TCP + b"data", total=0),
        ipv6(6, TCP + b"data", length=4_000),
        ipv6(6, TCP + b"data", length=0),
    ],
)
def test_what_was_not_copied_whole_or_does_not_say_how_long_it_is_is_cut(packet: bytes) -> None:
    segment = read(packet)

    assert segment is not None
    assert (segment.data, segment.is_cut) == (b"data", True)


def test_a_datagram_has_data_and_no_place() -> None:
    assert read(ipv4(17, UDP + b"data")) == Segment(b"data")
    assert read(ipv6(17, UDP)) == Segment(b"")


def test_other_protocols_and_later_fragments_carry_nothing_that_is_read() -> None:
    assert read(ipv4(1, bytes((8, 0, 0, 0, 0, 1, 0, 1)))) is None
    assert read(ipv4(17, b"the rest", fragment=100)) is None


def test_only_a_syn_without_ack_opens_a_connection() -> None:
    def opens(flags: int) -> bool:
        segment = read(ipv4(6, TCP[:13] + bytes((flags,)) + TCP[14:]))
        assert segment is not None
        return segment.opens

    assert [opens(each) for each in (SYN, SYN | 1, SYN | ACK, ACK, 0)] == [True, True] + [False] * 3


@given(st.binary(max_size=120), st.sampled_from([b"", ipv4(6, b""), ipv6(60, b""), ipv4(51, b"")]))
def test_whatever_the_bytes_are_nothing_raises(data: bytes, before: bytes) -> None:
    flow = parse(before + data)
    if isinstance(flow, Flow):
        segment = read_segment(before + data, flow)
        assert segment is None or segment.data in before + data
