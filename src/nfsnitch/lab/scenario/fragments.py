"""IP packets in fragments: byte for byte the same each time, and as small as one likes."""

from __future__ import annotations

from collections.abc import Iterator

from nfsnitch.lab.waiting import LabError

UNIT_BYTES = 8
"""Offsets of fragments count so many bytes."""
IDENTIFICATION = 1
"""Of IPv6 packets that say none."""

_IPV4_LEAST, _IPV6_LENGTH = 20, 40
_MORE_IPV4, _MORE_IPV6 = 0x2000, 1
_MOST_OFFSET = 0x1FFF
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60


class PacketError(LabError):
    """A packet that cannot be built as it is written; the message says why not."""


def fragments(packet: bytes, most: int) -> list[bytes]:
    """Return *packet* in fragments of at most *most* bytes of payload each, the first one first.

    All options and the headers before the fragment header are in each of them. Of an IPv6 packet
    that has a fragment header itself, this one's identification is taken.

    Raises:
        PacketError: it is no whole IP packet, or has more than offsets can count.

    """
    step = most - most % UNIT_BYTES
    if step < UNIT_BYTES:
        raise PacketError(f"a fragment has {UNIT_BYTES} bytes or more, not {most}")
    if packet and packet[0] >> 4 == 4:  # noqa: PLR2004  the IP version
        return list(_of_ipv4(packet, step))
    if packet and packet[0] >> 4 == 6:  # noqa: PLR2004  the IP version
        return list(_of_ipv6(packet, step))
    raise PacketError("only IP packets have fragments")


def _of_ipv4(packet: bytes, step: int) -> Iterator[bytes]:
    length = (packet[0] & 0xF) * 4
    if length < _IPV4_LEAST or len(packet) < length:
        raise PacketError("its IP header is not whole")
    first = int.from_bytes(packet[6:8], "big")
    for offset, chunk, is_last in _chunks(packet[length:], step, first & _MOST_OFFSET):
        more = 0 if is_last else _MORE_IPV4
        header = bytearray(packet[:length])
        header[2:4] = (length + len(chunk)).to_bytes(2, "big")
        header[6:8] = (first & ~_MOST_OFFSET | more | offset).to_bytes(2, "big")
        header[10:12] = bytes(2)
        header[10:12] = _checksum(header).to_bytes(2, "big")
        yield bytes(header) + chunk


def _of_ipv6(packet: bytes, step: int) -> Iterator[bytes]:
    if len(packet) < _IPV6_LENGTH:
        raise PacketError("its IPv6 header is not whole")
    next_at, begin, own = _split(packet)
    identification = own[4:8] if own else IDENTIFICATION.to_bytes(4, "big")
    following = own[0] if own else packet[next_at]
    header = bytearray(packet[:begin])
    header[next_at] = _FRAGMENT
    for offset, chunk, is_last in _chunks(packet[begin + len(own) :], step, 0):
        place = offset << 3 | (0 if is_last else _MORE_IPV6)
        fragment = bytes((following, 0)) + place.to_bytes(2, "big") + identification + chunk
        header[4:6] = (begin - _IPV6_LENGTH + len(fragment)).to_bytes(2, "big")
        yield bytes(header) + fragment


def _split(packet: bytes) -> tuple[int, int, bytes]:
    """Return where the packet is taken apart (RFC 8200, section 4.5).

    That is the place of the byte that names the next header, the end of the headers that are in
    each fragment, and the fragment header that the packet has there already.
    """
    next_at, end = 6, _IPV6_LENGTH
    walked_at, walked = next_at, end
    while len(packet) >= walked + 8:
        following = packet[walked_at]
        if following == _FRAGMENT:
            return walked_at, walked, packet[walked : walked + 8]
        if following not in {_HOP_BY_HOP, _ROUTING, _DESTINATION}:
            break
        walked_at, walked = walked, walked + (packet[walked + 1] + 1) * 8
        if following != _DESTINATION and walked <= len(packet):
            next_at, end = walked_at, walked
    return next_at, end, b""


def _chunks(payload: bytes, step: int, offset: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield offsets, the bytes that are there, and whether they are the last ones."""
    for at in range(0, max(len(payload), 1), step):
        unit = offset + at // UNIT_BYTES
        if unit > _MOST_OFFSET:
            raise PacketError("it has more than the offsets of fragments can count")
        yield unit, payload[at : at + step], at + step >= len(payload)


def _checksum(header: bytes | bytearray) -> int:
    """Return the checksum of an IPv4 header whose own is 0 (RFC 1071)."""
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
