"""How long a conversation is remembered, by the times that the kernel's conntrack has by default.

Those of `nf_conntrack-sysctl.rst` in Documentation/networking; of TCP the states are fewer here.
"""

from __future__ import annotations

from enum import Enum, auto

from nfsnitch.core.flow import Protocol
from nfsnitch.core.segment import ACK, FIN, RST, SYN

_NS_PER_S = 1_000_000_000


class TcpState(Enum):
    """How far a connection is."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    FIN_WAIT = auto()
    """One end has said that it has no more to say."""
    TIME_WAIT = auto()
    """Both have."""
    CLOSED = auto()
    """It was reset."""


_TCP_S = {
    TcpState.SYN_SENT: 120,
    TcpState.SYN_RECEIVED: 60,
    TcpState.ESTABLISHED: 432_000,
    TcpState.FIN_WAIT: 120,
    TcpState.TIME_WAIT: 120,
    TcpState.CLOSED: 10,
}
_OTHERS_S: dict[int, tuple[int, int]] = {
    Protocol.UDP: (30, 120),
    Protocol.UDPLITE: (30, 120),
    Protocol.ICMP: (30, 30),
    Protocol.ICMPV6: (30, 30),
    Protocol.GRE: (30, 180),
    Protocol.SCTP: (210, 210),
}
"""Protocol → seconds before there was an answer, and after it."""
_GENERIC_S = (600, 600)


class Conversation:
    """What is known of both directions of one flow."""

    __slots__ = ("_ended", "began", "ends_ns", "first_seq", "is_answered", "number", "tcp")

    def __init__(self, number: int, began: bytes, first_seq: int | None) -> None:
        """Begin with a packet from the end *began*; *first_seq*: its number, of a SYN."""
        self.number = number
        self.began = began
        """Address and port of the end that has sent first."""
        self.first_seq = first_seq
        self.is_answered = False
        self.tcp: TcpState | None = None
        self.ends_ns = 0
        """When it is forgotten if nothing comes before."""
        self._ended: bytes | None = None
        """The end that has sent a FIN."""

    @property
    def is_over(self) -> bool:
        """Whether a SYN of either end begins another connection."""
        return self.tcp in {TcpState.TIME_WAIT, TcpState.CLOSED}

    def take(self, sender: bytes, proto: int, tcp_flags: int | None, now_ns: int) -> None:
        """Take note of a packet of it."""
        self.is_answered |= sender != self.began
        if tcp_flags is None:
            before_s, after_s = _OTHERS_S.get(proto, _GENERIC_S)
            left_s = after_s if self.is_answered else before_s
        else:
            self.tcp = self._next(sender, tcp_flags)
            left_s = _TCP_S[self.tcp]
        self.ends_ns = now_ns + left_s * _NS_PER_S

    def _next(self, sender: bytes, flags: int) -> TcpState:
        state = self.tcp
        if flags & RST or state is TcpState.CLOSED:
            return TcpState.CLOSED
        if flags & FIN and state is not TcpState.TIME_WAIT:
            is_last = self._ended not in {None, sender}
            self._ended = sender
            return TcpState.TIME_WAIT if is_last else TcpState.FIN_WAIT
        if state in {TcpState.FIN_WAIT, TcpState.TIME_WAIT}:
            return state
        if flags & SYN and state is not TcpState.ESTABLISHED:
            return TcpState.SYN_RECEIVED if self.is_answered else TcpState.SYN_SENT
        if state is None or flags & ACK:
            return TcpState.ESTABLISHED
        return state
