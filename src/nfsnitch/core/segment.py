"""What a TCP or UDP packet carries behind its headers."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.name_sample import TcpPlace
from nfsnitch.core.packet import transport
from nfsnitch.core.unknown import Unknown

FIN, SYN, RST, ACK, URG = 1, 2, 4, 16, 32

_TCP = Struct("!4x I I B B")  # seq, ack, data offset, flags
_UDP_HEADER_BYTES = 8


class Segment(NamedTuple):
    """What a packet carries, and where in its connection that belongs."""

    data: bytes
    is_cut: bool = False
    """There is more of it, which was not copied."""
    tcp: TcpPlace | None = None

    @property
    def opens(self) -> bool:
        """Whether it is the first of a TCP connection."""
        return self.tcp is not None and self.tcp.flags & (SYN | ACK) == SYN

    @property
    def is_empty(self) -> bool:
        """Whether it surely has no data: options may leave no room for any in what was copied."""
        return not self.data and not self.is_cut

    def has(self, flag: int) -> bool:
        """Whether a TCP flag is set."""
        return self.tcp is not None and bool(self.tcp.flags & flag)


def read_segment(packet: bytes, flow: Flow) -> Segment | None:
    """Return what *packet* carries, whose flow is *flow*; None if it is neither TCP nor UDP.

    Also None of a later fragment, which has no header. Never raises.
    """
    if flow.proto not in {Protocol.TCP, Protocol.UDP} or isinstance(flow.dport, Unknown):
        return None
    ends = transport(packet)
    if ends is None:
        return None
    start, copied, total = ends
    is_cut = not total or total > copied
    if flow.proto == Protocol.UDP:
        return Segment(packet[start + _UDP_HEADER_BYTES : copied], is_cut)
    seq, ack, data_offset, flags = _TCP.unpack_from(packet, start)
    data = packet[start + (data_offset >> 4) * 4 : copied]
    return Segment(data, is_cut, TcpPlace(seq, ack, flags))
