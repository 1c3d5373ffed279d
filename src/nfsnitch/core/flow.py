"""A flow: what one packet says of the conversation it belongs to."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from nfsnitch.core.unknown import Unknown


class Family(IntEnum):
    """The address family; the value is the version field of the IP header."""

    IPV4 = 4
    IPV6 = 6

    __hash__ = int.__hash__
    """What equals a number hashes as that; and `Enum`'s own is slow, where each flow is hashed."""


class Protocol(IntEnum):
    """The transport protocols that have a name here (IANA protocol numbers)."""

    ICMP = 1
    IGMP = 2
    TCP = 6
    UDP = 17
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


PROTOCOL_NAMES: dict[int, str] = {number.value: number.name.lower() for number in Protocol}
"""Protocol number → the name used in rules and records; others go by their number."""


class Bypass(IntEnum):
    """Sockets whose packets netfilter never sees: 256 and the number of their address family.

    Rules name them where they name protocols, none of which has a number over 255.
    """

    PACKET = 256 + 17
    """AF_PACKET, packet(7)."""
    XDP = 256 + 44
    """AF_XDP, Documentation/networking/af_xdp.rst."""


BYPASS_NAMES: dict[int, str] = {number.value: number.name.lower() for number in Bypass}

NO_PORTS = Unknown("this protocol has no ports")
LATER_FRAGMENT = Unknown("only the first fragment carries the ports")
ENCRYPTED = Unknown("the transport header is encrypted")


class Icmp(NamedTuple):
    """The first fields of an ICMP or ICMPv6 message (RFC 792, RFC 4443)."""

    type: int
    code: int
    identifier: int | Unknown
    """Of an echo request or reply: what tells one ping from another; else why there is none."""


class Flow(NamedTuple):
    """One direction of a conversation, as its packets name it.

    Addresses are packed in network order (4 or 16 bytes); ports are host integers 0-65535.
    """

    family: Family
    proto: int
    saddr: bytes
    daddr: bytes
    sport: int | Unknown
    dport: int | Unknown
    icmp: Icmp | None = None
    """Set for ICMP and ICMPv6 alone."""

    @property
    def proto_name(self) -> str:
        """The protocol's name in rules and records, or its number in digits."""
        return PROTOCOL_NAMES.get(self.proto, str(self.proto))


def address_text(packed: bytes) -> str:
    """Return a packed address of 4 or 16 bytes as people write it.

    Raises:
        ValueError: *packed* has another length.

    """
    if len(packed) == 4:  # noqa: PLR2004
        return ".".join(map(str, packed))  # the hot path: much quicker than IPv4Address
    return str(IPv6Address(packed))


def packed_address(text: str) -> bytes:
    """Return an address that people write as 4 or 16 bytes.

    Raises:
        ValueError: *text* is no IPv4 or IPv6 address.

    """
    return (IPv6Address(text) if ":" in text else IPv4Address(text)).packed
