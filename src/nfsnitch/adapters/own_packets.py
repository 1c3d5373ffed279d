"""Packets of our own, sent by raw sockets (raw(7)) that are opened while that is still allowed.

A DNS question that a rule refuses is answered, as if from the server, that there is no such name. A
connection that is refused when the server knows of it already is reset there as well: the reset
that nft sends is for the program.
"""

from __future__ import annotations

import itertools
import logging
import socket
from collections import OrderedDict
from struct import Struct

from nfsnitch.core.flow import Family, Flow, Protocol, address_text
from nfsnitch.core.unknown import Unknown

MOST_ON_THEIR_WAY = 256
"""Some come by the queue themselves (to port 53, or with `loopback: judge`); so many are known."""

_NOBODYS_PROTOCOL = 253
"""For experiments (RFC 3692). What is sent has a header and protocol of its own all the same. A
socket of IPPROTO_RAW would be one that may have sent any packet whose sender is looked for."""
_IP_HDRINCL = {socket.AF_INET: (socket.IPPROTO_IP, 3), socket.AF_INET6: (socket.IPPROTO_IPV6, 36)}
"""Level and option, linux/in.h and linux/in6.h."""
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_UDP = Struct("!HHHH")
_TCP = Struct("!HHIIBBHHH")
_RST = 4
_TTL = 64

_HEADER = Struct("!HHHHHH")
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE, _NO_SUCH_NAME = 0x8000, 0x0100, 0x0080, 3
_QUESTION_BYTES = 4
_OPT = Struct("!BHHBBHH")  # root, type, size, extended code, version, flags, length (RFC 6891)
_OPT_TYPE, _OPT_SIZE, _DNSSEC_OK = 41, 1232, 0x8000
_BLOCKED = Struct("!HHH").pack(15, 2, 15)
"""Extended DNS Error "Blocked" (RFC 8914, 4.16)."""

_log = logging.getLogger(__name__)


class OwnPackets:
    """Two raw sockets, IPv4 and IPv6, and what was last sent by them."""

    def __init__(self) -> None:
        """Open them in the present network namespace; without CAP_NET_RAW none can be sent."""
        self._sockets = {
            family: opened
            for family, number in ((Family.IPV4, socket.AF_INET), (Family.IPV6, socket.AF_INET6))
            if (opened := _opened(number)) is not None
        }
        self._sent: OrderedDict[bytes, None] = OrderedDict()
        self._ids = itertools.cycle(range(1, 1 << 16))

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets.values():
            each.close()

    def deny_name(self, flow: Flow, question: bytes) -> bool:
        """Answer *question*, a DNS message that *flow* carried; False if that failed."""
        answer = denial(question)
        if answer is None or not _has_ports(flow):
            return False
        back = flow._replace(saddr=flow.daddr, daddr=flow.saddr, sport=flow.dport, dport=flow.sport)
        size = _UDP.size + len(answer)
        header = _UDP.pack(back.sport, back.dport, size, 0)
        # A sum of 0 would say that there is none.
        sums = _checksum(_pseudo(back, Protocol.UDP, size) + header + answer) or 0xFFFF
        return self._send(back, Protocol.UDP, header[:6] + sums.to_bytes(2, "big") + answer)

    def reset_peer(self, flow: Flow, seq: int) -> bool:
        """Reset the connection *flow* at its other end, which expects *seq*; False if it failed."""
        if not _has_ports(flow):
            return False
        fields = (flow.sport, flow.dport, seq, 0, _TCP.size // 4 << 4, _RST, 0)
        sums = _checksum(_pseudo(flow, Protocol.TCP, _TCP.size) + _TCP.pack(*fields, 0, 0))
        return self._send(flow, Protocol.TCP, _TCP.pack(*fields, sums, 0))

    def _send(self, flow: Flow, proto: Protocol, payload: bytes) -> bool:
        raw = self._sockets.get(flow.family)
        if raw is None:
            return False
        packet = _packet(flow, proto, payload, next(self._ids))
        self._sent[packet] = None
        while len(self._sent) > MOST_ON_THEIR_WAY:
            self._sent.popitem(last=False)
        try:
            raw.sendto(packet, (address_text(flow.daddr), 0))
        except OSError as problem:
            _log.debug("a packet of our own could not be sent: %s", problem)
            self._sent.pop(packet, None)
            return False
        return True

    def is_ours(self, packet: bytes) -> bool:
        """Whether this is a packet that was sent here; true once for each."""
        if packet not in self._sent:
            return False
        del self._sent[packet]
        return True


def denial(question: bytes) -> bytes | None:
    """Return the answer that the name in question does not exist; None if there is no question.

    It says nothing of how long that holds, so that nobody remembers it (RFC 2308, 5).
    """
    if len(question) < _HEADER.size:
        return None
    number, flags, _, _, _, additional = _HEADER.unpack_from(question)
    end = _name_end(question, _HEADER.size)
    if end is None or end + _QUESTION_BYTES > len(question):
        return None
    end += _QUESTION_BYTES
    options = _options(question, end) if additional else b""
    flags = flags & _RECURSION_DESIRED | _RESPONSE | _RECURSION_AVAILABLE | _NO_SUCH_NAME
    header = _HEADER.pack(number, flags, 1, 0, 0, 1 if options else 0)
    return header + question[_HEADER.size : end] + options


def _options(question: bytes, at: int) -> bytes:
    """Return the OPT record of an answer, if the question has one where it usually is."""
    if at + _OPT.size > len(question):
        return b""
    root, kind, _, _, _, flags, _ = _OPT.unpack_from(question, at)
    if root or kind != _OPT_TYPE:
        return b""
    own = _OPT.pack(0, _OPT_TYPE, _OPT_SIZE, 0, 0, flags & _DNSSEC_OK, len(_BLOCKED))
    return own + _BLOCKED


def _name_end(message: bytes, at: int) -> int | None:
    while at < len(message):
        if not message[at]:
            return at + 1
        if message[at] & 0xC0:
            return None  # a question has nothing to point to
        at += 1 + message[at]
    return None


def _has_ports(flow: Flow) -> bool:
    return not isinstance(flow.sport, Unknown) and not isinstance(flow.dport, Unknown)


def _pseudo(flow: Flow, proto: Protocol, size: int) -> bytes:
    """Return what checksums cover besides the packet; this order does for both families."""
    return flow.saddr + flow.daddr + size.to_bytes(4, "big") + proto.to_bytes(4, "big")


def _packet(flow: Flow, proto: Protocol, payload: bytes, number: int) -> bytes:
    """Return a packet with its IP header; the kernel would change nothing in it."""
    if flow.family is Family.IPV6:
        head = _IPV6.pack(6 << 28, len(payload), proto, _TTL, flow.saddr, flow.daddr)
        return head + payload
    fields = (0x45, 0, _IPV4.size + len(payload), number, 0, _TTL, proto)
    sums = _checksum(_IPV4.pack(*fields, 0, flow.saddr, flow.daddr))
    return _IPV4.pack(*fields, sums, flow.saddr, flow.daddr) + payload


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    # 2^16 is 1 modulo 2^16 - 1: the sum of all words is the number that they are, modulo that.
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF - (total % 0xFFFF or 0xFFFF if total else 0)


def _opened(family: socket.AddressFamily) -> socket.socket | None:
    try:
        raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NOBODYS_PROTOCOL)
        raw.setsockopt(*_IP_HDRINCL[family], 1)
        # Nobody reads what comes in for it: as little as may be is kept.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    except OSError as problem:
        _log.warning("no raw socket (%s): refused DNS questions stay without an answer", problem)
        return None
    raw.settimeout(0)
    return raw
