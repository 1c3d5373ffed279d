"""The packet parser, with scapy as the oracle: both must read the same from the same bytes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_RR,
    IPOption_SSRR,
)
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from nfsnitch.core.flow import LATER_FRAGMENT, Family, Flow, Icmp
from nfsnitch.core.packet import NO_IDENTIFIER, Malformed, parse

SADDR4, DADDR4 = "192.0.2.1", "198.51.100.7"
SADDR6, DADDR6 = "2001:db8::1", "2001:db8:1::7"
SADDR4_BYTES, DADDR4_BYTES = IPv4Address(SADDR4).packed, IPv4Address(DADDR4).packed
SADDR6_BYTES, DADDR6_BYTES = IPv6Address(SADDR6).packed, IPv6Address(DADDR6).packed

PORTS = st.integers(0, 65535)
TRANSPORTS = st.one_of(
    st.builds(TCP, sport=PORTS, dport=PORTS, options=st.just([("MSS", 1460), ("WScale", 7)])),
    st.builds(UDP, sport=PORTS, dport=PORTS),
    st.builds(SCTP, sport=PORTS, dport=PORTS),
)
NUMBERS: dict[type[Packet], int] = {TCP: 6, UDP: 17, SCTP: 132}
PINGS = st.builds(ICMP, type=st.sampled_from([0, 3, 8, 13]), code=st.integers(0, 255), id=PORTS)
PINGS6 = st.one_of(
    st.builds(ICMPv6EchoRequest, id=PORTS), st.builds(ICMPv6EchoReply, id=PORTS)
) | st.just(ICMPv6ND_NS(tgt=DADDR6))
OPTIONS = st.lists(st.sampled_from([IPOption_NOP(), IPOption_RR(routers=[SADDR4] * 3)]), max_size=2)
EXTENSIONS = st.lists(
    st.sampled_from(
        [
            IPv6ExtHdrHopByHop(),
            IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(30))]),
            IPv6ExtHdrRouting(addresses=[DADDR6], segleft=0),
            IPv6ExtHdrFragment(id=7),
        ]
    ),
    max_size=4,
)


def flow_of(packet: bytes) -> Flow:
    result = parse(packet)
    assert isinstance(result, Flow), result
    return result


def stacked(*layers: Packet) -> bytes:
    packet = layers[0].copy()
    for layer in layers[1:]:
        packet /= layer.copy()
    return bytes(packet)


def assert_as_scapy_reads_it(raw: bytes, oracle: Packet) -> None:
    flow = flow_of(raw)
    transport = next(each for each in NUMBERS if each in oracle)
    expected: Any = oracle[transport]
    assert flow.proto == NUMBERS[transport]
    assert (flow.sport, flow.dport) == (expected.sport, expected.dport)


@given(OPTIONS, TRANSPORTS, st.binary(max_size=40))
def test_scapy_reads_the_same_from_ipv4(
    options: list[Packet], transport: Packet, data: bytes
) -> None:
    raw = stacked(IP(src=SADDR4, dst=DADDR4, options=options), transport, Raw(data))
    assert_as_scapy_reads_it(raw, IP(raw))
    assert flow_of(raw)[:4] == (Family.IPV4, raw[9], SADDR4_BYTES, DADDR4_BYTES)


@given(TRANSPORTS, st.sampled_from([IP(src=SADDR4, dst=DADDR4), IPv6(src=SADDR6, dst=DADDR6)]))
def test_an_authentication_header_made_by_scapy_hides_no_ports(
    transport: Packet, ip: Packet
) -> None:
    # Scapy leaves both to who builds the header; 24 bytes are 4 words and 2.
    header = AH(nh=NUMBERS[type(transport)], payloadlen=4, icv=bytes(12))
    assert_as_scapy_reads_it(stacked(ip, header, transport), transport)


@given(EXTENSIONS, TRANSPORTS, st.binary(max_size=40))
def test_scapy_reads_the_same_from_ipv6(
    extensions: list[Packet], transport: Packet, data: bytes
) -> None:
    raw = stacked(IPv6(src=SADDR6, dst=DADDR6), *extensions, transport, Raw(data))
    assert_as_scapy_reads_it(raw, IPv6(raw))
    assert flow_of(raw)[2:4] == (SADDR6_BYTES, DADDR6_BYTES)


@given(PINGS)
def test_scapy_reads_the_same_from_icmp(ping: Any) -> None:  # noqa: ANN401 - fields made at run time
    flow = flow_of(stacked(IP(src=SADDR4, dst=DADDR4), ping))
    identifier = NO_IDENTIFIER if ping.type == 3 else ping.id
    assert flow.icmp == Icmp(ping.type, ping.code, identifier)


@given(EXTENSIONS, PINGS6)
def test_scapy_reads_the_same_from_icmpv6(
    extensions: list[Packet],
    ping: Any,  # noqa: ANN401 - scapy makes the fields at run time
) -> None:
    flow = flow_of(stacked(IPv6(src=SADDR6, dst=DADDR6), *extensions, ping))
    identifier = ping.id if hasattr(ping, "id") else NO_IDENTIFIER
    assert flow.icmp == Icmp(ping.type, ping.code, identifier)


@given(TRANSPORTS, st.integers(40, 200))
def test_of_what_scapy_fragments_the_first_has_ports_and_the_later_ones_have_none(
    transport: Packet, size: int
) -> None:
    whole: Any = IP(src=SADDR4, dst=DADDR4) / transport.copy() / Raw(bytes(400))
    first, *later = [bytes(each) for each in whole.fragment(fragsize=size)]
    assert_as_scapy_reads_it(first, whole)
    assert later
    assert {flow_of(each).dport for each in later} == {LATER_FRAGMENT}


@pytest.mark.parametrize("option", [IPOption_LSRR, IPOption_SSRR])
def test_source_routes_made_by_scapy_are_refused(option: Any) -> None:  # noqa: ANN401 - a scapy class
    raw = stacked(IP(src=SADDR4, dst=DADDR4, options=[option(routers=[DADDR4])]), TCP())
    assert parse(raw) == Malformed("an IPv4 source route leads past the destination address")
