"""Which packets of a capture would have been judged: the first ones of this machine's flows.

That mirrors what the queueing rules let through (nft/nfsnitch.nft) and what the kernel's conntrack
keeps: both directions are one flow, answers are no new one, a SYN with a number of its own begins
another connection of the same ports, and what has been silent for long enough is forgotten. Times
are those of the capture. Windows are not followed: no packet is taken for an invalid one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from struct import Struct, error
from typing import NamedTuple

from nfsnitch.core.flow import LATER_FRAGMENT, Family, Flow, Icmp, Protocol
from nfsnitch.core.packet import transport
from nfsnitch.core.segment import ACK, SYN
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.conversations import Conversation
from nfsnitch.lab.replay.notes import Notes

MOST_CONVERSATIONS = 262_144
"""As many as conntrack keeps by default where there is much memory."""

_PORTS = Struct("!H H")
_SEQ_AND_FLAGS = Struct("!4x I 5x B")
_IPV4_INSIDE = Struct("!B 8x B 2x 4s 4s")
_IPV6_INSIDE = Struct("!6x B x 16s 16s")
_ICMP_HEADER_BYTES = 8
_PLAIN_IPV4, _PROTO_AT, _IPV4_HEADER_BYTES = 0x45, 9, 20
"""An IPv4 header without options: its first byte, where its protocol stands, its length."""
_IPV6_HEADER_BYTES = 40
_ERRORS = frozenset({3, 4, 5, 11, 12})
_ERRORS_END_V6 = 128
_NEIGHBOURS = frozenset({130, 131, 132, 133, 135, 136, 143})
"""Of ICMPv6: what the rules never ask about (neighbour discovery, multicast listening)."""
_NO_PORT = b"-"

_Key = tuple[int, bytes, bytes, int]
"""Protocol, both ends in their order, and the identifier of a ping."""


class Sight(NamedTuple):
    """A packet of a flow that this machine has begun."""

    number: int
    """Of the flow."""
    is_first: bool


class Tracker:
    """The conversations of a capture: a bounded number, the longest unused is forgotten first."""

    def __init__(
        self,
        is_ours: Callable[[bytes], bool],
        notes: Notes,
        most: int = MOST_CONVERSATIONS,
        number: Callable[[], int] | None = None,
    ) -> None:
        """Ask *is_ours* whether a packed address is this machine's."""
        self._is_ours = is_ours
        self._notes, self._most = notes, most
        self._conversations: OrderedDict[_Key, Conversation] = OrderedDict()
        self._last = 0
        self._number = number or self._next_number

    def __len__(self) -> int:
        """Return how many conversations are known."""
        return len(self._conversations)

    def take(self, packet: bytes, flow: Flow, now_ns: int) -> Sight | None:
        """Return which flow of this machine's a packet belongs to; None: nobody would judge it.

        *now_ns* never goes back.
        """
        if flow.sport is LATER_FRAGMENT:
            self._notes.count("later fragments")
            return None
        start = _start(packet, flow)
        if flow.icmp is not None and self._needs_no_judging(packet, flow, flow.icmp, now_ns):
            return None
        tcp = _SEQ_AND_FLAGS.unpack_from(packet, start) if flow.proto == Protocol.TCP else None
        sender, key = _key(flow)
        found = self._found(key, now_ns)
        if found is not None and tcp is not None and _begins_anew(found, sender, *tcp):
            found = None
        is_first = found is None
        if found is None:
            opens = tcp is not None and _opens(tcp[1])
            found = Conversation(self._number(), sender, tcp[0] if tcp and opens else None)
            self._remember(key, found)
            if tcp is not None and not opens and self._is_ours(flow.saddr):
                self._notes.count("connections under way when they were first seen")
        found.take(sender, flow.proto, None if tcp is None else tcp[1], now_ns)
        if found.began != sender or not self._is_ours(flow.saddr):
            return None
        return Sight(found.number, is_first)

    def _next_number(self) -> int:
        self._last += 1
        return self._last

    def _found(self, key: _Key, now_ns: int) -> Conversation | None:
        found = self._conversations.get(key)
        if found is None:
            return None
        if found.ends_ns < now_ns:
            del self._conversations[key]
            return None
        self._conversations.move_to_end(key)
        return found

    def _remember(self, key: _Key, conversation: Conversation) -> None:
        self._conversations[key] = conversation
        self._conversations.move_to_end(key)
        if len(self._conversations) > self._most:
            self._conversations.popitem(last=False)
            self._notes.count("conversations forgotten, of too many at once")

    def _needs_no_judging(self, packet: bytes, flow: Flow, icmp: Icmp, now_ns: int) -> bool:
        """Whether it is neighbour discovery, or an error about a flow that is known."""
        if flow.proto == Protocol.ICMPV6 and icmp.type in _NEIGHBOURS:
            return True
        is_v4 = flow.family is Family.IPV4
        if icmp.type not in _ERRORS if is_v4 else icmp.type >= _ERRORS_END_V6:
            return False
        inner = _inside(packet[_start(packet, flow) + _ICMP_HEADER_BYTES :])
        return inner is not None and self._found(_key(inner)[1], now_ns) is not None


def _begins_anew(found: Conversation, sender: bytes, seq: int, flags: int) -> bool:
    """Whether a segment is the first of another connection of the same ports."""
    if not _opens(flags):
        return False
    return seq != found.first_seq if found.began == sender else found.is_over


def _opens(flags: int) -> bool:
    return flags & (SYN | ACK) == SYN


def _start(packet: bytes, flow: Flow) -> int:
    """Return where the transport header begins of a packet that could be parsed."""
    if packet[0] == _PLAIN_IPV4 and packet[_PROTO_AT] == flow.proto:  # the quick way
        return _IPV4_HEADER_BYTES
    ends = transport(packet)
    return 0 if ends is None else ends[0]


def _key(flow: Flow) -> tuple[bytes, _Key]:
    """Return the end that sends, and what both directions have in common."""
    sender = flow.saddr + _port(flow.sport)
    other = flow.daddr + _port(flow.dport)
    identifier = -1
    if flow.icmp is not None and not isinstance(flow.icmp.identifier, Unknown):
        identifier = flow.icmp.identifier
    elif flow.icmp is not None:
        identifier = -2 - flow.icmp.type
    first, second = (sender, other) if sender < other else (other, sender)
    return sender, (flow.proto, first, second, identifier)


def _port(port: int | Unknown) -> bytes:
    return _NO_PORT if isinstance(port, Unknown) else port.to_bytes(2, "big")


def _inside(quoted: bytes) -> Flow | None:
    """Return the flow of which an ICMP error quotes the beginning of a packet."""
    nothing = Unknown("not quoted")
    try:
        version = quoted[0] >> 4 if quoted else 0
        if version == Family.IPV4:
            first, proto, saddr, daddr = _IPV4_INSIDE.unpack_from(quoted)
            family, start = Family.IPV4, (first & 0x0F) * 4
        elif version == Family.IPV6:
            proto, saddr, daddr = _IPV6_INSIDE.unpack_from(quoted)
            family, start = Family.IPV6, _IPV6_HEADER_BYTES
        else:
            return None
        flow = Flow(family, proto, saddr, daddr, nothing, nothing)
        if proto in {Protocol.TCP, Protocol.UDP, Protocol.UDPLITE, Protocol.SCTP}:
            sport, dport = _PORTS.unpack_from(quoted, start)
            return flow._replace(sport=sport, dport=dport)
        if proto in {Protocol.ICMP, Protocol.ICMPV6}:
            _, identifier = _PORTS.unpack_from(quoted, start + 4 - 2)
            return flow._replace(icmp=Icmp(quoted[start], 0, identifier))
    except (error, IndexError):
        return None
    return flow
