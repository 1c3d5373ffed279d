"""Link headers of captures: what is in front of an IP packet, by the numbers of tcpdump.org.

The numbers are those of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

_SHORT = Struct("!H")
_IPV4, _IPV6 = 0x0800, 0x86DD
_IP_TYPES = frozenset({_IPV4, _IPV6})
_VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})
_MOST_TAGS = 4
_PACKET_OUTGOING = 4
"""linux/if_packet.h."""


class Inner(NamedTuple):
    """An IP packet without what was in front of it."""

    packet: bytes
    is_outgoing: bool | None = None
    """Whether the machine that captured it sent it; None: the link does not say."""


_Strip = Callable[[bytes], Inner | None]


def _ethernet(frame: bytes) -> Inner | None:
    return _behind(frame, 12)


def _behind(frame: bytes, at: int) -> Inner | None:
    """Return the IP packet behind an EtherType at *at*, and behind VLAN tags."""
    for _ in range(_MOST_TAGS):
        if at + _SHORT.size > len(frame):
            return None
        (kind,) = _SHORT.unpack_from(frame, at)
        if kind in _IP_TYPES:
            return Inner(frame[at + 2 :])
        if kind not in _VLAN_TYPES:
            return None
        at += 4
    return None


def _raw(frame: bytes) -> Inner | None:
    return Inner(frame)


def _cooked(frame: bytes) -> Inner | None:
    """Take off Linux's cooked header: packet type first, EtherType last, of 16 bytes."""
    inner = _behind(frame, 14)
    if inner is None:
        return None
    return inner._replace(is_outgoing=_SHORT.unpack_from(frame)[0] == _PACKET_OUTGOING)


def _cooked_2(frame: bytes) -> Inner | None:
    """Take off the second version of it: EtherType first, packet type at 10, of 20 bytes."""
    if len(frame) < 20 or _SHORT.unpack_from(frame)[0] not in _IP_TYPES:  # noqa: PLR2004
        return None
    return Inner(frame[20:], is_outgoing=frame[10] == _PACKET_OUTGOING)


def _loopback(frame: bytes) -> Inner | None:
    """Take off BSD's header of loopback: a family of 4 bytes, which differs between systems."""
    if len(frame) < 5 or frame[4] >> 4 not in {4, 6}:  # noqa: PLR2004
        return None
    return Inner(frame[4:])


_STRIP: dict[int, _Strip] = {
    0: _loopback,  # NULL
    1: _ethernet,
    12: _raw,  # DLT_RAW on most systems
    14: _raw,  # the same on OpenBSD
    101: _raw,
    108: _loopback,  # LOOP
    113: _cooked,
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: _cooked_2,
}


def is_known(link_type: int) -> bool:
    """Whether frames of this link can be read here."""
    return link_type in _STRIP


def ip_packet(link_type: int, frame: bytes) -> Inner | None:
    """Return the IP packet in a frame; None: there is none (ARP, say). Never raises."""
    strip = _STRIP.get(link_type)
    return None if strip is None else strip(frame)
