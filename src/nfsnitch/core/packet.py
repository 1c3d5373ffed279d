"""The parser: the bytes of one IP packet in, its flow out.

What a packet says of its ports must be what its receiver will read there, else a program could show
one port to the rules and reach another. So whatever receivers may read in different ways is
`Malformed` and gets refused: a transport header cut off by fragmentation (RFC 1858, RFC 7112), a
route in the packet that leads past the destination address. Whatever is merely odd, and read alike
by everybody, passes: checksums not yet filled in (the network card does it later), lengths of
packets that the kernel cuts up later, payload that was not copied to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from nfsnitch.core.flow import (
    ENCRYPTED,
    LATER_FRAGMENT,
    NO_PORTS,
    Family,
    Flow,
    Icmp,
    Protocol,
)
from nfsnitch.core.unknown import Unknown

MAX_EXTENSION_HEADERS = 10
"""More than RFC 8200 has a use for: each kind once, the destination options twice."""

NO_IDENTIFIER = Unknown("this ICMP type has no identifier")

_IPV4 = Struct("!B x H 2x H x B 2x 4s 4s")  # version+IHL, length, fragment, protocol, addresses
_IPV6 = Struct("!4x H B x 16s 16s")  # payload length, next header, addresses
_TCP = Struct("!H H 8x B")  # ports, data offset
_PORTS = Struct("!H H")
_PLAIN = Struct("!B x H 2x H x B 2x 4s 4s H H 8x B")  # _IPV4 without options, and _TCP behind it
_ICMP = Struct("!B B 2x H")  # type, code, identifier
_FRAGMENT = Struct("!B x H")  # next header, offset

_IPV4_HEADER_BYTES = 20
_IPV4_NO_OPTIONS = 0x45
_IPV6_HEADER_BYTES = 40
_TCP_HEADER_BYTES = 20
_TCP_LEAST_OFFSET = 0x50
"""5 words of 4 bytes, in the upper half of the byte."""
_PLAIN_BYTES = _IPV4_HEADER_BYTES + _TCP_HEADER_BYTES
_AH_HEADER_BYTES = 12
_ICMP_HEADER_BYTES = 8
_ICMPV6_HEADER_BYTES = 4

# Protocol with ports → what to call its header, and how many bytes that has.
_PORTED_HEADERS = {
    Protocol.UDP.value: ("the UDP header", 8),
    Protocol.UDPLITE.value: ("the UDP-Lite header", 8),
    Protocol.SCTP.value: ("the SCTP header", 12),
}

_TCP_NUMBER = Protocol.TCP.value
_AH_NUMBER = Protocol.AH.value

# IPv6 extension headers (IANA protocol numbers); AH is one too.
_HOP_BY_HOP = 0
_ROUTING = 43
_FRAGMENT_HEADER = 44
_NO_NEXT_HEADER = 59
_DESTINATION_OPTIONS = 60
_MOBILITY = 135
_HIP = 139
_SHIM6 = 140
_MESSAGE_HEADERS = frozenset({_MOBILITY, _HIP, _SHIM6})
"""Messages of their own when nothing follows them, extension headers when something does."""
_EXTENSION_HEADERS = _MESSAGE_HEADERS | {
    _HOP_BY_HOP,
    _ROUTING,
    _FRAGMENT_HEADER,
    _AH_NUMBER,
    _DESTINATION_OPTIONS,
}

_IPV4_OPTION_END = 0
_IPV4_OPTION_NOTHING = 1
_IPV4_SOURCE_ROUTES = frozenset({131, 137})  # loose, strict

# Echo, timestamp, information and address mask, extended echo: request and reply of each.
_ICMP_WITH_IDENTIFIER = frozenset({0, 8, 13, 14, 15, 16, 17, 18, 42, 43})
_ICMPV6_WITH_IDENTIFIER = frozenset({128, 129, 160, 161})

_Transport = tuple[int | Unknown, int | Unknown, Icmp | None]
"""sport, dport, icmp: what `Flow` takes from the transport header."""

_WITHOUT_PORTS: _Transport = (NO_PORTS, NO_PORTS, None)
_WITHOUT_HEADER: _Transport = (LATER_FRAGMENT, LATER_FRAGMENT, None)
_SEALED: _Transport = (ENCRYPTED, ENCRYPTED, None)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A packet whose headers cannot be read, or not by everybody in the same way."""

    problem: str


class _MalformedError(Exception):
    """Inside this module alone: the packet is `Malformed`, the message says why."""


def parse(packet: bytes) -> Flow | Malformed:
    """Return the flow that *packet* belongs to.

    *packet* starts at its IP header and may end anywhere in its payload: the kernel copies no more
    of it than the queue asked for. Never raises, whatever the bytes.
    """
    if not packet:
        return Malformed("the packet is empty")
    version = packet[0] >> 4
    try:
        if version == 4:  # noqa: PLR2004 - the version field itself; an enum costs time here
            return _plain(packet) or _parse_ipv4(packet)
        if version == 6:  # noqa: PLR2004
            return _parse_ipv6(packet)
    except _MalformedError as problem:
        return Malformed(str(problem))
    return Malformed(f"IP version {version} does not exist")


def transport(packet: bytes) -> tuple[int, int, int] | None:
    """Return where the transport header of *packet* begins, and where the packet ends.

    Of the end there are two: that of what was copied, and that of the packet itself. The second is
    0 where the packet does not say: one of over 64 KiB, which the kernel cuts up later. None where
    no such header can be read.
    """
    if not packet or isinstance(parse(packet), Malformed):
        return None
    try:
        if packet[0] >> 4 == Family.IPV4:
            first, total, fragment, proto, _, _ = _IPV4.unpack_from(packet)
            start, copied = (first & 0x0F) * 4, min(total or len(packet), len(packet))
            if proto == _AH_NUMBER and not fragment & 0x1FFF:
                proto, start = _skip_ipv4_ah(packet, start, copied)
            return start, copied, total
        payload, proto, _, _ = _IPV6.unpack_from(packet)
        total = _IPV6_HEADER_BYTES + payload if payload else 0
        start, copied = _IPV6_HEADER_BYTES, min(total or len(packet), len(packet))
        _, start, _ = _walk(packet, proto, start, copied)
    except _MalformedError:
        return None
    return start, copied, total


def _plain(packet: bytes) -> Flow | None:
    """Return the flow of a packet that is as most are: TCP, and nothing odd about it.

    The same as `_parse_ipv4`, which sees to all others, in one step.
    """
    if len(packet) < _PLAIN_BYTES:
        return None
    first, total, fragment, proto, saddr, daddr, *ports, offset = _PLAIN.unpack_from(packet)
    if first != _IPV4_NO_OPTIONS or proto != _TCP_NUMBER or fragment & 0x1FFF:
        return None
    if 0 < total < _PLAIN_BYTES or offset < _TCP_LEAST_OFFSET:
        return None
    return Flow(Family.IPV4, proto, saddr, daddr, *ports)


def _parse_ipv4(packet: bytes) -> Flow:
    copied = len(packet)
    _require("the IPv4 header", 0, _IPV4_HEADER_BYTES, copied)
    first, total, fragment, proto, saddr, daddr = _IPV4.unpack_from(packet)
    start = (first & 0x0F) * 4
    # A total length of 0 is the kernel's own, for TCP segments over 64 KiB that it cuts up later.
    end = total if 0 < total < copied else copied
    if start != _IPV4_HEADER_BYTES:
        _check_ipv4_header(packet, start, end)
    elif end < start:
        raise _MalformedError("the IPv4 total length is shorter than the header")
    offset = (fragment & 0x1FFF) * 8
    if offset:
        transport = _later_fragment(proto, offset)
    else:
        if proto == _AH_NUMBER:
            proto, start = _skip_ipv4_ah(packet, start, end)
        transport = _read_transport(packet, Family.IPV4, proto, start, end)
    sport, dport, icmp = transport
    return Flow(Family.IPV4, proto, saddr, daddr, sport, dport, icmp)


def _parse_ipv6(packet: bytes) -> Flow:
    copied = len(packet)
    _require("the IPv6 header", 0, _IPV6_HEADER_BYTES, copied)
    payload, proto, saddr, daddr = _IPV6.unpack_from(packet)
    start = _IPV6_HEADER_BYTES
    # A payload length of 0 is that of a jumbogram (RFC 2675), or of a header with nothing behind.
    end = min(start + payload, copied) if payload else copied
    offset = 0
    if proto in _EXTENSION_HEADERS:
        proto, start, offset = _walk(packet, proto, start, end)
    if offset:
        transport = _later_fragment(proto, offset)
    else:
        transport = _read_transport(packet, Family.IPV6, proto, start, end)
    sport, dport, icmp = transport
    return Flow(Family.IPV6, proto, saddr, daddr, sport, dport, icmp)


def _check_ipv4_header(packet: bytes, start: int, end: int) -> None:
    """Refuse an impossible header length, and options that say more than the header itself does.

    Any program may set options on its socket, source routes among them. While a source route is
    under way, the address in the header is that of the next router and not of the destination.
    """
    if start < _IPV4_HEADER_BYTES:
        raise _MalformedError("the IPv4 header length is below 20 bytes")
    _require("the IPv4 options", 0, start, end)
    at = _IPV4_HEADER_BYTES
    while at < start and packet[at] != _IPV4_OPTION_END:
        if packet[at] == _IPV4_OPTION_NOTHING:
            at += 1
            continue
        length = packet[at + 1] if at + 1 < start else 0
        if length < 2 or at + length > start:  # noqa: PLR2004 - its own type and length byte
            raise _MalformedError("an IPv4 option has an impossible length")
        if packet[at] in _IPV4_SOURCE_ROUTES and _route_under_way(packet, at, length):
            raise _MalformedError("an IPv4 source route leads past the destination address")
        at += length


def _route_under_way(packet: bytes, at: int, length: int) -> bool:
    """Tell whether the source route option at *at* has addresses left, or no readable pointer."""
    return length < 3 or packet[at + 2] <= length  # noqa: PLR2004 - type, length, pointer


def _skip_ipv4_ah(packet: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the protocol behind the authentication headers, and where it starts."""
    proto = _AH_NUMBER
    for _ in range(MAX_EXTENSION_HEADERS):
        proto, start = _skip_ah(packet, start, end)
        if proto != _AH_NUMBER:
            return proto, start
    raise _MalformedError("too many authentication headers")


def _walk(packet: bytes, proto: int, start: int, end: int) -> tuple[int, int, int]:
    """Follow the IPv6 extension headers that begin with *proto* at *start*.

    Returns the protocol behind them, where its header starts, and the fragment's offset in bytes:
    where that is not 0, no header follows.
    """
    for _ in range(MAX_EXTENSION_HEADERS):
        if proto not in _EXTENSION_HEADERS:
            return proto, start, 0
        if proto == _AH_NUMBER:
            proto, start = _skip_ah(packet, start, end)
        elif proto == _FRAGMENT_HEADER:
            _require("the fragment header", start, 8, end)
            proto, fragment = _FRAGMENT.unpack_from(packet, start)
            start += 8
            if fragment & 0xFFF8:
                return proto, start, fragment & 0xFFF8
        else:
            following, behind = _skip_extension(packet, proto, start, end)
            if following == _NO_NEXT_HEADER and proto in _MESSAGE_HEADERS:
                return proto, start, 0
            proto, start = following, behind
    if proto in _EXTENSION_HEADERS:
        raise _MalformedError(f"more than {MAX_EXTENSION_HEADERS} extension headers")
    return proto, start, 0


def _skip_ah(packet: bytes, start: int, end: int) -> tuple[int, int]:
    _require("the authentication header", start, _AH_HEADER_BYTES, end)
    size = (packet[start + 1] + 2) * 4
    if size < _AH_HEADER_BYTES:
        raise _MalformedError("the authentication header's length is below 12 bytes")
    _require("the authentication header", start, size, end)
    return packet[start], start + size


def _skip_extension(packet: bytes, proto: int, start: int, end: int) -> tuple[int, int]:
    _require("an extension header", start, 8, end)
    size = (packet[start + 1] + 1) * 8
    _require("an extension header", start, size, end)
    # Routing type 0 makes any router on the way a relay, knowing or not, which is why RFC 5095
    # abolished it. The later types work only where the next node was set up to serve them, and
    # such a node could relay in any other way too: there the address in the header is the truth.
    if proto == _ROUTING and packet[start + 2] == 0 and packet[start + 3]:
        raise _MalformedError("an IPv6 type 0 route leads past the destination address")
    return packet[start], start + size


def _later_fragment(proto: int, offset: int) -> _Transport:
    # A fragment that starts inside the TCP header would rewrite flags that were let through
    # (RFC 1858, RFC 3128). Nobody sends one: the fragment before it would be one of 8 or 16 bytes.
    if proto == _TCP_NUMBER and offset < _TCP_HEADER_BYTES:
        raise _MalformedError("a later fragment starts inside the TCP header")
    return _WITHOUT_HEADER


def _read_transport(packet: bytes, family: Family, proto: int, start: int, end: int) -> _Transport:
    if proto == _TCP_NUMBER:
        return _read_tcp(packet, start, end)
    if proto in _PORTED_HEADERS:
        # The UDP length is not looked at: of a datagram that the network card will cut up it is
        # not the last word, and no port depends on it.
        what, size = _PORTED_HEADERS[proto]
        _require(what, start, size, end)
        sport, dport = _PORTS.unpack_from(packet, start)
        return sport, dport, None
    if proto == Protocol.ICMP and family is Family.IPV4:
        return _read_icmp(packet, start, end)
    if proto == Protocol.ICMPV6 and family is Family.IPV6:
        return _read_icmpv6(packet, start, end)
    return _SEALED if proto == Protocol.ESP else _WITHOUT_PORTS


def _read_tcp(packet: bytes, start: int, end: int) -> _Transport:
    # All 20 bytes, though the ports are in the first 4: a first fragment that has the ports and
    # not the flags is an old way past filters and never made by a real stack. The data offset must
    # be possible; where the options end is nobody's concern here, a first fragment may cut them.
    _require("the TCP header", start, _TCP_HEADER_BYTES, end)
    sport, dport, data_offset = _TCP.unpack_from(packet, start)
    if data_offset < _TCP_LEAST_OFFSET:
        raise _MalformedError("the TCP data offset is below 20 bytes")
    return sport, dport, None


def _read_icmp(packet: bytes, start: int, end: int) -> _Transport:
    _require("the ICMP header", start, _ICMP_HEADER_BYTES, end)
    kind, code, identifier = _ICMP.unpack_from(packet, start)
    has_identifier = kind in _ICMP_WITH_IDENTIFIER
    return NO_PORTS, NO_PORTS, Icmp(kind, code, identifier if has_identifier else NO_IDENTIFIER)


def _read_icmpv6(packet: bytes, start: int, end: int) -> _Transport:
    # Some messages are shorter than those of ICMP: RFC 4443 promises no more than 4 bytes.
    _require("the ICMPv6 header", start, _ICMPV6_HEADER_BYTES, end)
    kind, code = packet[start], packet[start + 1]
    if kind not in _ICMPV6_WITH_IDENTIFIER:
        return NO_PORTS, NO_PORTS, Icmp(kind, code, NO_IDENTIFIER)
    _require("the ICMPv6 echo header", start, _ICMP_HEADER_BYTES, end)
    _, _, identifier = _ICMP.unpack_from(packet, start)
    return NO_PORTS, NO_PORTS, Icmp(kind, code, identifier)


def _require(what: str, start: int, size: int, end: int) -> None:
    """Raise unless *size* bytes from *start* lie before *end*."""
    if start + size > end:
        missing = start + size - end
        raise _MalformedError(f"{what} is cut short: {missing} of {size} bytes missing")
