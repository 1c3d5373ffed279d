"""What the kernel's copies of names are read as, whatever is in them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import KernelOwner, image_key
from nfsnitch.adapters.bpf.layout import DNS_SAMPLE, LIBC_SAMPLE, DnsFlag, OwnerEntry, SampleKind
from nfsnitch.adapters.bpf.name_samples import dns_packet, libc_answer
from nfsnitch.core.flow import Protocol, packed_address
from nfsnitch.core.name_sample import Direction, TcpPlace
from nfsnitch.core.owner import Owner
from nfsnitch.core.unknown import Unknown

NOBODY = Unknown("nobody looked")


def nobody(_entry: OwnerEntry) -> Owner:
    return NOBODY


def dns_raw(
    payload: bytes = b"",
    flags: int = 0,
    family: int = 4,
    proto: int = Protocol.UDP,
    local: str = "192.0.2.2",
    remote: str = "192.0.2.1",
    room: int = 128,
) -> bytes:
    addresses = [packed_address(each).ljust(16, b"\0") for each in (local, remote)]
    numbers = (SampleKind.DNS, flags, 5, 6, 7, *addresses, 8, 9, 40_000, len(payload))
    return DNS_SAMPLE.pack(*numbers, family, proto, 24) + payload.ljust(room, b"?")


def libc_raw(name: bytes, addresses: list[str]) -> bytes:
    packed = [packed_address(each) for each in addresses]
    families = bytes(4 if len(each) == 4 else 6 for each in packed)
    slots = b"".join(each.ljust(16, b"\0") for each in packed)
    owner = KernelOwner(image_key(41)).packed()
    return LIBC_SAMPLE.pack(SampleKind.LIBC, len(packed), 5, owner, name, families, slots)


def test_a_datagram_is_read_with_its_payload_and_nothing_of_what_is_behind_it() -> None:
    packet = dns_packet(dns_raw(b"asked"))

    assert (packet.sock_cookie, packet.netns_cookie, packet.seen_ns) == (6, 7, 5)
    assert (packet.direction, packet.proto, packet.tcp) == (Direction.SENT, 17, None)
    assert (packet.local, packet.local_port) == (packed_address("192.0.2.2"), 40_000)
    assert packet.remote == packed_address("192.0.2.1")
    assert (packet.payload, packet.is_cut) == (b"asked", False)


def test_addresses_of_ipv6_are_read_whole() -> None:
    packet = dns_packet(dns_raw(family=6, local="2001:db8::2", remote="2001:db8::1"))

    assert (packet.local, packet.remote) == (
        packed_address("2001:db8::2"),
        packed_address("2001:db8::1"),
    )


def test_a_segment_knows_its_place() -> None:
    assert dns_packet(dns_raw(proto=Protocol.TCP)).tcp == TcpPlace(8, 9, 24)


@pytest.mark.parametrize(
    ("flags", "direction", "is_cut"),
    [
        (DnsFlag.RECEIVED, Direction.RECEIVED, False),
        (DnsFlag.CUT, Direction.SENT, True),
        (DnsFlag.RECEIVED | DnsFlag.CUT, Direction.RECEIVED, True),
    ],
)
def test_the_flags_say_which_way_it_went_and_whether_all_of_it_is_there(
    flags: int, direction: Direction, *, is_cut: bool
) -> None:
    packet = dns_packet(dns_raw(flags=flags))

    assert (packet.direction, packet.is_cut) == (direction, is_cut)


def test_an_answer_of_the_c_library_is_read_with_every_address() -> None:
    addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    asked = []

    def owner_of(entry: OwnerEntry) -> Owner:
        asked.append(entry)
        return NOBODY

    answer = libc_answer(libc_raw(b"a.example", addresses), owner_of)

    assert (answer.name, answer.seen_ns, answer.asker) == ("a.example", 5, NOBODY)
    assert answer.addresses == tuple(map(packed_address, addresses))
    assert [entry.image_key for entry in asked] == [image_key(41)]


def test_a_name_ends_at_its_nul_and_may_be_any_bytes() -> None:
    assert libc_answer(libc_raw(b"a\xff\0b", ["192.0.2.1"]), nobody).name == "a\udcff"


def test_as_many_addresses_as_there_is_room_for_are_read() -> None:
    many = [f"192.0.2.{at}" for at in range(16)]
    raw = bytearray(libc_raw(b"a.example", many))
    struct.pack_into("=I", raw, 4, 2**32 - 1)

    assert len(libc_answer(bytes(raw), nobody).addresses) == 16


@given(st.binary(max_size=800))
def test_whatever_bytes_come_they_are_read_or_refused_as_no_sample(raw: bytes) -> None:
    for read in (dns_packet, lambda each: libc_answer(each, nobody)):
        try:
            sample = read(raw)
        except (struct.error, ValueError):
            continue
        assert sample.seen_ns >= 0


@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255))
def test_a_payload_is_never_longer_than_the_sample(payload: bytes, family: int, proto: int) -> None:
    raw = dns_raw(payload, family=family, proto=proto, room=len(payload))[: DNS_SAMPLE.size + 100]
    try:
        packet = dns_packet(raw)
    except ValueError:
        assert family not in (4, 6) or proto not in (Protocol.TCP, Protocol.UDP)
    else:
        assert packet.payload == payload[:100]
