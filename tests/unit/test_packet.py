"""The packet parser, against random bytes and header by header."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core import packet as packet_module
from nfsnitch.core.flow import ENCRYPTED, LATER_FRAGMENT, NO_PORTS, Flow, Icmp
from nfsnitch.core.packet import MAX_EXTENSION_HEADERS, NO_IDENTIFIER, Malformed, parse

SADDR4_BYTES, DADDR4_BYTES = IPv4Address("192.0.2.1").packed, IPv4Address("198.51.100.7").packed
SADDR6_BYTES, DADDR6_BYTES = IPv6Address("2001:db8::1").packed, IPv6Address("2001:db8::7").packed

SYN = struct.pack("!HHIIBBHHH", 40000, 443, 1, 0, 0x50, 2, 64240, 0, 0)
DATAGRAM = struct.pack("!HHHH", 40000, 53, 12, 0) + b"data"
TCP_PORTS = (40000, 443)


def ipv4(
    proto: int, payload: bytes, *, options: bytes = b"", fragment: int = 0, total: int | None = None
) -> bytes:
    size = 20 + len(options)
    length = size + len(payload) if total is None else total
    header = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, length, 1, fragment, 64, proto, 0)
    return header + SADDR4_BYTES + DADDR4_BYTES + options + payload


def ipv6(proto: int, payload: bytes, *, length: int | None = None) -> bytes:
    length = len(payload) if length is None else length
    header = struct.pack("!IHBB", 0x60000000, length, proto, 64)
    return header + SADDR6_BYTES + DADDR6_BYTES + payload


def extension(following: int, size: int = 8) -> bytes:
    """Build a hop-by-hop, destination, mobility, HIP or shim6 header of *size* bytes."""
    return bytes([following, size // 8 - 1]) + bytes(size - 2)


def routing(following: int, kind: int, segments_left: int) -> bytes:
    return bytes([following, 2, kind, segments_left]) + bytes(20)


def fragment_header(following: int, offset: int, *, more: bool) -> bytes:
    return struct.pack("!BBHI", following, 0, offset | more, 7)


def authentication(following: int, size: int = 24) -> bytes:
    return bytes([following, size // 4 - 2]) + bytes(size - 2)


def flow_of(packet: bytes) -> Flow:
    result = parse(packet)
    assert isinstance(result, Flow), result
    return result


def problem_of(packet: bytes) -> str:
    result = parse(packet)
    assert isinstance(result, Malformed), result
    return result.problem


# Whatever the bytes


@given(st.binary(max_size=200))
def test_any_bytes_are_a_flow_or_malformed(packet: bytes) -> None:
    assert isinstance(parse(packet), Flow | Malformed)


@given(st.sampled_from([0x45, 0x46, 0x4F, 0x60]), st.binary(min_size=19, max_size=300))
def test_any_bytes_behind_an_ip_version_are_a_flow_or_malformed(first: int, rest: bytes) -> None:
    result = parse(bytes([first]) + rest)
    assert isinstance(result, Flow | Malformed)
    if isinstance(result, Flow):
        assert len(result.saddr) == len(result.daddr) == (4 if first < 0x60 else 16)


NEXT_HEADERS = st.sampled_from([0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 132, 135, 139, 140])


@given(NEXT_HEADERS, st.lists(st.tuples(NEXT_HEADERS, st.binary(min_size=7, max_size=7))))
def test_any_chain_of_extension_headers_is_a_flow_or_malformed(
    proto: int, headers: list[tuple[int, bytes]]
) -> None:
    payload = b"".join(bytes([following]) + rest for following, rest in headers)
    assert isinstance(parse(ipv6(proto, payload)), Flow | Malformed)


@given(
    st.sampled_from([ipv4(6, SYN), ipv4(6, SYN + b"data"), ipv4(17, DATAGRAM * 4)]),
    st.lists(st.tuples(st.integers(0, 43), st.integers(0, 255)), max_size=3),
    st.integers(0, 60),
)
def test_what_is_read_in_one_step_is_what_is_read_step_by_step(
    packet: bytes, changes: list[tuple[int, int]], size: int
) -> None:
    changed = bytearray(packet)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    packet = b"\x45" + bytes(changed[1:size])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packet_module, "_plain", lambda _packet: None)
        step_by_step = parse(packet)

    assert parse(packet) == step_by_step


def test_no_bytes_are_malformed() -> None:
    assert problem_of(b"") == "the packet is empty"


@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 7, 15])
def test_another_ip_version_is_malformed(version: int) -> None:
    packet = bytes([version << 4 | 5]) + ipv4(6, SYN)[1:]
    assert problem_of(packet) == f"IP version {version} does not exist"


# Cut short


WHOLE_PACKETS = {  # name → packet, how many of its bytes the parser cannot do without
    "IPv4 TCP": (ipv4(6, SYN + b"payload"), 40),
    "IPv4 UDP": (ipv4(17, DATAGRAM), 28),
    "IPv4 options TCP": (ipv4(6, SYN, options=b"\x01\x01\x01\x00"), 44),
    "IPv4 AH TCP": (ipv4(51, authentication(6) + SYN), 64),
    "IPv4 ICMP": (ipv4(1, b"\x08\x00\x00\x00\x12\x34\x00\x01ping"), 28),
    "IPv4 SCTP": (ipv4(132, SYN[:12] + b"chunk"), 32),
    "IPv4 GRE": (ipv4(47, b"gre payload"), 20),
    "IPv4 later fragment": (ipv4(17, b"payload", fragment=185), 20),
    "IPv6 TCP": (ipv6(6, SYN + b"payload"), 60),
    "IPv6 ICMPv6": (ipv6(58, b"\x80\x00\x00\x00\x12\x34\x00\x01ping"), 48),
    "IPv6 chain": (ipv6(0, extension(43) + routing(60, 4, 1) + extension(17) + DATAGRAM), 88),
    "IPv6 later fragment": (ipv6(44, fragment_header(17, 1480, more=False) + b"payload"), 48),
    "IPv6 ESP": (ipv6(50, b"sealed"), 40),
    "IPv6 nothing": (ipv6(59, b""), 40),
}


@pytest.mark.parametrize(("packet", "needed"), WHOLE_PACKETS.values(), ids=WHOLE_PACKETS)
def test_cut_in_its_payload_a_packet_stays_the_same_flow_and_cut_before_it_is_malformed(
    packet: bytes, needed: int
) -> None:
    whole = flow_of(packet)
    for size in range(len(packet)):
        result = parse(packet[:size])
        if size >= needed:
            assert result == whole
        else:
            assert isinstance(result, Malformed), size


def test_the_problem_says_which_header_is_cut_short_and_by_how_much() -> None:
    assert problem_of(ipv4(6, SYN[:13])) == "the TCP header is cut short: 7 of 20 bytes missing"


def test_ports_are_never_read_behind_the_end_that_the_ip_header_gives() -> None:
    assert "TCP header" in problem_of(ipv4(6, SYN, total=39))
    assert "TCP header" in problem_of(ipv6(6, SYN, length=19))


def test_a_total_length_shorter_than_the_header_is_malformed() -> None:
    assert problem_of(ipv4(6, SYN, total=19)).startswith("the IPv4 total length")
    assert "IPv4 options" in problem_of(ipv4(6, SYN, options=bytes(4), total=20))


def test_lengths_of_zero_stand_for_packets_too_large_for_the_field() -> None:
    assert flow_of(ipv4(6, SYN, total=0)).dport == 443
    assert flow_of(ipv6(6, SYN, length=0)).dport == 443
    assert flow_of(ipv6(0, extension(6) + SYN, length=0)).dport == 443


def test_a_header_length_below_twenty_bytes_is_malformed() -> None:
    assert problem_of(b"\x44" + ipv4(6, SYN)[1:]) == "the IPv4 header length is below 20 bytes"


# Fragments


def test_the_first_ipv4_fragment_has_ports_and_the_later_ones_have_none() -> None:
    first, later = ipv4(17, DATAGRAM, fragment=0x2000), ipv4(17, b"x" * 8, fragment=0x2001)
    assert (flow_of(first).sport, flow_of(first).dport) == (40000, 53)
    assert (flow_of(later).sport, flow_of(later).dport) == (LATER_FRAGMENT, LATER_FRAGMENT)


def test_dont_fragment_is_no_fragment() -> None:
    assert flow_of(ipv4(6, SYN, fragment=0x4000)).dport == 443


def test_an_ipv6_fragment_of_offset_zero_has_ports_and_the_later_ones_have_none() -> None:
    first = flow_of(ipv6(44, fragment_header(6, 0, more=True) + SYN))
    later = flow_of(ipv6(44, fragment_header(6, 1448, more=True) + b"payload"))
    assert (first.proto, first.dport) == (6, 443)
    assert (later.proto, later.sport, later.dport) == (6, LATER_FRAGMENT, LATER_FRAGMENT)


@pytest.mark.parametrize("proto", [1, 6, 17, 132, 136])
def test_a_first_fragment_without_the_whole_transport_header_is_malformed(proto: int) -> None:
    assert "cut short" in problem_of(ipv4(proto, SYN[:6], fragment=0x2000))


def test_an_ipv6_first_fragment_without_the_whole_header_chain_is_malformed() -> None:
    packet = ipv6(44, fragment_header(60, 0, more=True) + extension(6, size=16)[:8])
    assert problem_of(packet) == "an extension header is cut short: 8 of 16 bytes missing"


@pytest.mark.parametrize("offset_bytes", [8, 16])
def test_a_later_fragment_inside_the_tcp_header_is_malformed(offset_bytes: int) -> None:
    problem = "a later fragment starts inside the TCP header"
    assert problem_of(ipv4(6, b"x" * 24, fragment=offset_bytes // 8)) == problem
    assert problem_of(ipv6(44, fragment_header(6, offset_bytes, more=False) + SYN)) == problem


# Transport headers


def test_a_tcp_data_offset_below_twenty_bytes_is_malformed() -> None:
    header = SYN[:12] + b"\x4f" + SYN[13:]
    assert problem_of(ipv4(6, header)) == "the TCP data offset is below 20 bytes"


def test_tcp_options_may_be_cut_off() -> None:
    assert flow_of(ipv4(6, SYN[:12] + b"\xf0" + SYN[13:])).dport == 443


ICMP_IDENTIFIERS = [
    (1, 8, 0x1234),
    (1, 0, 0x1234),
    (1, 13, 0x1234),
    (1, 14, 0x1234),
    (1, 3, NO_IDENTIFIER),
    (1, 11, NO_IDENTIFIER),
    (58, 128, 0x1234),
    (58, 129, 0x1234),
    (58, 1, NO_IDENTIFIER),
    (58, 135, NO_IDENTIFIER),
]


@pytest.mark.parametrize(("proto", "kind", "identifier"), ICMP_IDENTIFIERS)
def test_only_icmp_types_that_have_an_identifier_show_one(
    proto: int, kind: int, identifier: object
) -> None:
    message = bytes([kind, 5, 0, 0, 0x12, 0x34, 0, 0])
    flow = flow_of(ipv4(proto, message) if proto == 1 else ipv6(proto, message))
    assert flow.icmp is not None
    assert flow.icmp == (kind, 5, identifier)
    assert (flow.sport, flow.dport) == (NO_PORTS, NO_PORTS)


def test_a_short_icmpv6_message_passes_unless_its_identifier_is_missing() -> None:
    assert flow_of(ipv6(58, b"\x9b\x00\x00\x00\x00\x00")).icmp == Icmp(155, 0, NO_IDENTIFIER)
    assert "ICMPv6 echo header" in problem_of(ipv6(58, b"\x80\x00\x00\x00\x00\x00"))


def test_icmp_in_the_other_family_is_a_protocol_by_number_alone() -> None:
    assert flow_of(ipv6(1, b"\x08")) == (6, 1, SADDR6_BYTES, DADDR6_BYTES, NO_PORTS, NO_PORTS, None)
    assert flow_of(ipv4(58, b"\x80")).icmp is None


@pytest.mark.parametrize("proto", [2, 4, 33, 41, 47, 103, 253, 255])
def test_other_protocols_go_by_number_and_have_no_ports(proto: int) -> None:
    for flow in (flow_of(ipv4(proto, b"")), flow_of(ipv6(proto, b""))):
        assert (flow.proto, flow.sport, flow.dport, flow.icmp) == (proto, NO_PORTS, NO_PORTS, None)


# IPv4 options and routes that lead elsewhere


@pytest.mark.parametrize(
    "options",
    [
        b"\x01\x01\x01\x00",
        b"\x94\x04\x00\x00",
        b"\x00\xff\xff\xff",
        b"\x83\x07\x08\x00\x00\x00\x00\x00",
    ],
    ids=["nothing", "router alert", "bytes behind the end", "a source route that is completed"],
)
def test_harmless_ipv4_options_pass(options: bytes) -> None:
    flow = flow_of(ipv4(6, SYN, options=options))
    assert (flow.sport, flow.dport) == TCP_PORTS


@pytest.mark.parametrize("option", [b"\x94\x00", b"\x94\x01", b"\x94\x05", b"\x01\x01\x01\x94"])
def test_an_ipv4_option_of_impossible_length_is_malformed(option: bytes) -> None:
    packet = ipv4(6, SYN, options=option.ljust(4, b"\x01"))
    assert problem_of(packet) == "an IPv4 option has an impossible length"


def test_a_route_that_leads_past_the_destination_address_is_malformed() -> None:
    for option in (b"\x83\x07\x04\x0a\x00\x00\x01\x00", b"\x89\x07\x04\x0a\x00\x00\x01\x00"):
        assert "source route" in problem_of(ipv4(6, SYN, options=option))
    assert "type 0 route" in problem_of(ipv6(43, routing(6, 0, 1) + SYN))


# The extension header walk

WALKS: dict[str, tuple[int, bytes, int, object]] = {
    # name: (first next header, payload, protocol found, dport found)
    "hop-by-hop": (0, extension(6) + SYN, 6, 443),
    "routing, completed": (43, routing(6, 0, 0) + SYN, 6, 443),
    "routing by segments": (43, routing(6, 4, 2) + SYN, 6, 443),
    "atomic fragment": (44, fragment_header(6, 0, more=False) + SYN, 6, 443),
    "fragment of two fragments": (
        44,
        fragment_header(44, 0, more=True) + fragment_header(6, 64, more=True),
        6,
        LATER_FRAGMENT,
    ),
    "authentication": (51, authentication(17) + DATAGRAM, 17, 53),
    "authentication, not a multiple of 8": (51, authentication(6, size=20) + SYN, 6, 443),
    "destination options of 264 bytes": (60, extension(17, size=264) + DATAGRAM, 17, 53),
    "mobility before data": (135, extension(6) + SYN, 6, 443),
    "mobility alone": (135, extension(59), 135, NO_PORTS),
    "HIP alone": (139, extension(59), 139, NO_PORTS),
    "shim6 before data": (140, extension(6) + SYN, 6, 443),
    "encrypted behind a fragment": (
        44,
        fragment_header(50, 0, more=False) + b"sealed",
        50,
        ENCRYPTED,
    ),
    "nothing follows": (60, extension(59), 59, NO_PORTS),
    "nothing follows, with data": (59, b"data", 59, NO_PORTS),
    "ICMPv6 behind hop-by-hop": (0, extension(58) + b"\x8f\x00\x00\x00", 58, NO_PORTS),
    "all that RFC 8200 knows": (
        0,
        extension(60) + extension(43) + routing(44, 4, 0) + fragment_header(51, 0, more=False)
        + authentication(60) + extension(6) + SYN,
        6,
        443,
    ),
    "as many as are followed": (
        60,
        extension(60) * (MAX_EXTENSION_HEADERS - 1) + extension(6) + SYN,
        6,
        443,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("first", "payload", "proto", "dport"), WALKS.values(), ids=WALKS)
def test_extension_headers_are_followed_to_the_transport_header(
    first: int, payload: bytes, proto: int, dport: object
) -> None:
    flow = flow_of(ipv6(first, payload))
    assert (flow.proto, flow.dport) == (proto, dport)


def test_more_extension_headers_than_anybody_needs_are_malformed() -> None:
    payload = extension(60) * MAX_EXTENSION_HEADERS + extension(6) + SYN
    assert problem_of(ipv6(60, payload)) == "more than 10 extension headers"
    packet = ipv4(51, authentication(51) * MAX_EXTENSION_HEADERS + authentication(6) + SYN)
    assert problem_of(packet) == "too many authentication headers"


def test_an_authentication_header_shorter_than_twelve_bytes_is_malformed() -> None:
    assert "below 12 bytes" in problem_of(ipv6(51, bytes([6, 0]) + bytes(10) + SYN))
