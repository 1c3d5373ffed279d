"""Fragments of scenarios' packets: where they are cut, what each has, and their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, defragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6
from scapy.layers.l2 import Dot1Q, Ether

from nfsnitch.lab.scenario.fragments import fragments
from nfsnitch.lab.scenario.packets import PacketError, build
from packet_play import Layer, Stack, datagram, datagram6, layers

together: Any = defragment
together6: Any = defragment6


def test_fragments_come_in_the_order_that_is_written_some_twice_and_some_never() -> None:
    whole = build(datagram(bytes(range(64)), fragment_bytes=24))
    assert build(datagram(bytes(range(64)), fragment_bytes=24, order=(2, 0, 0))) == [
        whole[2],
        whole[0],
        whole[0],
    ]


def test_an_order_that_names_a_fragment_too_many_is_refused() -> None:
    with pytest.raises(PacketError, match="there is no fragment 3: they are 0 to 2"):
        build(datagram(bytes(64), fragment_bytes=24, order=(3,)))


def test_only_what_has_an_ip_header_is_fragmented() -> None:
    with pytest.raises(PacketError, match="only IP packets have fragments"):
        build(layers(("Ether", {}), ("ARP", {}), fragment_bytes=8))
    with pytest.raises(PacketError, match="only IP packets"):
        fragments(b"\x00", 8)
    with pytest.raises(PacketError, match="8 bytes or more, not 7"):
        fragments(b"\x45", 7)
    for part in (b"\x45\x00", b"\x41" + bytes(30), b"\x60"):
        with pytest.raises(PacketError, match="header is not whole"):
            fragments(part, 8)
    with pytest.raises(PacketError, match="more than the offsets"):
        fragments(b"\x45" + bytes(5) + b"\x1f\xff" + bytes(60), 8)


@given(load=st.binary(max_size=200), most=st.integers(8, 100))
def test_scapy_puts_ipv4_fragments_together_to_what_was_taken_apart(load: bytes, most: int) -> None:
    [whole] = build(datagram(load))
    parts = build(datagram(load, fragment_bytes=most))

    assert all(len(each) - 20 <= most for each in parts)
    assert all(bytes(IP(each))[10:12] == _with_checksum(each)[10:12] for each in parts)
    if len(parts) > 1:
        [read] = together([IP(each) for each in parts])
        assert bytes(read[UDP]) == whole[20:]
    else:
        assert parts == [whole]


def _with_checksum(raw: bytes) -> bytes:
    """Return the packet with the checksum of its header as scapy counts it."""
    packet = IP(raw)
    packet.chksum = None
    return bytes(packet)


@given(load=st.binary(min_size=100, max_size=300), most=st.integers(8, 90))
def test_scapy_puts_ipv6_fragments_together_to_what_was_taken_apart(load: bytes, most: int) -> None:
    [whole] = build(datagram6(load))
    parts = [IPv6(each) for each in build(datagram6(load, fragment_bytes=most))]

    assert all(each.plen == len(bytes(each)) - 40 <= most + 8 for each in parts)
    assert bytes(IPv6(bytes(together6(parts)))[UDP]) == whole[40:]


def test_fragments_of_ipv6_have_what_stands_before_the_fragment_header() -> None:
    before: Stack = (
        ("IPv6ExtHdrHopByHop", {}),
        ("IPv6ExtHdrDestOpt", {}),
        ("IPv6ExtHdrRouting", {}),
    )
    after: Layer = ("IPv6ExtHdrDestOpt", {})
    parts = build(datagram6(bytes(64), *before, after, fragment_bytes=32))

    for raw in parts:
        chain = [type(each).__name__ for each in _chain(IPv6(raw))]
        assert chain[1:5] == [*(name for name, _ in before), "IPv6ExtHdrFragment"]
    assert [IPv6(each)[IPv6ExtHdrFragment].nh for each in parts] == [60] * len(parts)
    assert [IPv6(each)[IPv6ExtHdrFragment].m for each in parts] == [1] * (len(parts) - 1) + [0]


def _chain(packet: Any) -> list[Any]:  # noqa: ANN401  of scapy
    found = []
    while packet:
        found.append(packet)
        packet = packet.payload
    return found


def test_the_identification_of_a_fragment_header_that_is_written_is_kept() -> None:
    own = ("IPv6ExtHdrFragment", {"id": 0xABCD})
    parts = build(datagram6(bytes(64), own, fragment_bytes=32))

    assert len(parts) == 3
    assert {IPv6(each)[IPv6ExtHdrFragment].id for each in parts} == {0xABCD}
    assert IPv6(parts[0])[IPv6ExtHdrFragment].nh == 17


def test_frames_are_fragmented_behind_their_link_layers() -> None:
    framed = layers(
        ("Ether", {}),
        ("Dot1Q", {"vlan": 7}),
        *datagram(bytes(64)).layers,
        fragment_bytes=32,
    )
    parts = [Ether(each) for each in build(framed)]

    assert [each[IP].frag for each in parts] == [0, 4, 8]
    assert {each[Dot1Q].vlan for each in parts} == {7}
