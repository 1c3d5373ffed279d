"""Conntrack's messages, as the kernel writes them and as nobody should."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.conntrack_table import _glance, parsed
from nfsnitch.core.flow import NO_PORTS, Family, Flow, Icmp, Protocol, packed_address


def attribute(kind: int, content: bytes) -> bytes:
    header = struct.pack("=HH", 4 + len(content), kind)
    return header + content + bytes(-len(content) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(parts))


def ends(kind: int, saddr: str, daddr: str, proto: int, *more: bytes) -> bytes:
    """Return a CTA_TUPLE_ORIG (1) or CTA_TUPLE_REPLY (2)."""
    first = 3 if ":" in saddr else 1
    addresses = attribute(first, packed_address(saddr)), attribute(first + 1, packed_address(daddr))
    return nested(kind, nested(1, *addresses), nested(2, attribute(1, bytes((proto,))), *more))


def ports(sport: int, dport: int) -> tuple[bytes, bytes]:
    return attribute(2, sport.to_bytes(2, "big")), attribute(3, dport.to_bytes(2, "big"))


def message(family: int, *attributes: bytes) -> memoryview:
    return memoryview(bytes((family, 0, 0, 0)) + b"".join(attributes))


UDP4 = message(
    2,
    ends(1, "192.0.2.2", "203.0.113.1", 17, *ports(5000, 53)),
    ends(2, "192.0.2.1", "198.51.100.9", 17, *ports(5353, 6000)),
    attribute(3, bytes(4)),
    attribute(22, (1 << 117).to_bytes(16, "little")),
)


def test_a_translated_flow_is_the_one_that_our_chains_see() -> None:
    entry = parsed(UDP4)

    assert entry is not None
    assert entry.flow == Flow(
        Family.IPV4, 17, packed_address("192.0.2.2"), packed_address("192.0.2.1"), 5000, 5353
    )
    assert entry.labels == 1 << 117
    # The kernel finds the entry again by its own original tuple.
    assert entry.handle[0] == 2
    assert entry.handle[1:] == ends(1, "192.0.2.2", "203.0.113.1", 17, *ports(5000, 53))


def test_a_zone_is_part_of_what_tells_which_entry_is_meant() -> None:
    zone = attribute(18, (7).to_bytes(2, "big"))
    with_zone = parsed(memoryview(bytes(UDP4) + zone))

    assert with_zone is not None
    assert with_zone.handle.endswith(zone)


def test_a_ping_has_an_identifier_in_place_of_ports() -> None:
    echo = attribute(7, (4660).to_bytes(2, "big")), attribute(8, b"\x80"), attribute(9, b"\x00")
    there, back = ("2001:db8::2", "2001:db8::1"), ("2001:db8::1", "2001:db8::2")
    entry = parsed(message(10, ends(1, *there, 58, *echo), ends(2, *back, 58, *echo)))

    assert entry is not None
    assert entry.flow.icmp == Icmp(128, 0, 4660)
    assert (entry.flow.sport, entry.flow.dport) == (NO_PORTS, NO_PORTS)
    assert entry.labels == 0


def test_at_a_glance_protocol_and_source_port_are_those_of_the_whole() -> None:
    six = ends(1, "2001:db8::2", "2001:db8::1", Protocol.TCP, *ports(40_000, 443))

    assert _glance(UDP4) == (17, 5000)
    assert _glance(message(10, six)) == (6, 40_000)


def test_what_is_laid_out_otherwise_or_has_no_ports_is_looked_at_whole() -> None:
    swapped = nested(1, nested(2, attribute(1, b"\x11"), *ports(1, 2)), nested(1, bytes(16)))
    echo = ends(1, "192.0.2.2", "192.0.2.1", 1, attribute(4, b"ab"), attribute(5, b"\x08"))

    assert _glance(message(2, swapped, bytes(64))) is None
    assert _glance(message(2, echo, bytes(64))) is None
    assert _glance(message(2)) is None


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_make_an_entry_or_none(content: bytes) -> None:
    for family in (b"\x02", b"\x0a", b""):
        raw = memoryview(family + bytes(3 * bool(family)) + content)
        _glance(raw)
        entry = parsed(raw)
        assert entry is None or entry.handle


@given(st.integers(4, len(UDP4) - 1), st.integers(0, 255))
def test_one_wrong_byte_harms_nobody(at: int, value: int) -> None:
    raw = bytearray(UDP4)
    raw[at] = value
    entry = parsed(memoryview(bytes(raw)))

    assert entry is None or len(entry.flow.saddr) == len(entry.flow.daddr) == 4
