"""DNS over TCP (RFC 7766): messages put together from segments, as the receiver puts them together.

Segments are seen before TCP has looked at them. So what is not where the connection is, is what
anybody may have sent, and is left alone: a stream is followed from its SYN on, the other end's SYN
must acknowledge ours, and a segment must begin near what has been read. Where something is missing
that does not come again, nothing of the stream counts any more.
"""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.name_sample import Direction, DnsPacket, TcpPlace
from nfsnitch.core.shares import Shares, User

MOST_STREAMS = 256
MOST_BYTES = 1 << 21
"""In all streams together, that wait for what is missing."""
MOST_AHEAD_BYTES = 1 << 18
"""A segment that begins further behind what has been read is none of the stream's."""
MOST_AHEAD = 64
"""Segments of one direction that wait for what comes before them."""

_FIN, _SYN, _ACK = 1, 2, 16
_LENGTH_BYTES = 2
_MODULO = 1 << 32


class Message(NamedTuple):
    """One message of a stream."""

    payload: bytes
    is_cut: bool
    """Its end is missing."""


class _Half:
    """One direction of a stream, from its SYN on."""

    def __init__(self, place: TcpPlace) -> None:
        self.first = place.seq
        self.next = (place.seq + 1) % _MODULO
        """The number of the byte that comes next."""
        self.is_lost = False
        self.text = bytearray()
        """Read, and not yet a whole message."""
        self.ahead: dict[int, tuple[bytes, bool]] = {}
        """What waits for what comes before it: number of the first byte → bytes, is cut."""

    @property
    def size_bytes(self) -> int:
        """How much memory its bytes take."""
        return len(self.text) + sum(len(data) for data, _ in self.ahead.values())

    def lose(self) -> None:
        """Follow it no further."""
        self.is_lost = True
        self.text.clear()
        self.ahead.clear()

    def feed(self, seq: int, data: bytes, *, is_cut: bool) -> list[Message]:
        """Take a segment; return the messages that are whole by it."""
        ahead = (seq - self.next + _MODULO // 2) % _MODULO - _MODULO // 2
        if self.is_lost or not data or ahead + len(data) <= 0 or ahead > MOST_AHEAD_BYTES:
            return []
        if ahead <= 0:
            return self._advance(data[-ahead:], is_cut=is_cut)
        if len(data) > len(self.ahead.get(seq, (b"",))[0]):
            self.ahead[seq] = (data, is_cut)
            if len(self.ahead) > MOST_AHEAD:
                self.lose()
        return []

    def _advance(self, data: bytes, *, is_cut: bool) -> list[Message]:
        """Read what comes next, and what has waited for it."""
        while True:
            self.text += data
            self.next = (self.next + len(data)) % _MODULO
            fitting = None if is_cut else self._fitting()
            if fitting is None:
                break
            data, is_cut = fitting
        messages = self._whole_messages()
        if is_cut:
            if len(self.text) > _LENGTH_BYTES:
                messages.append(Message(bytes(self.text[_LENGTH_BYTES:]), is_cut=True))
            self.lose()
        return messages

    def _fitting(self) -> tuple[bytes, bool] | None:
        """Return what has waited and comes next; what has come meanwhile is forgotten."""
        for seq, (data, is_cut) in sorted(self.ahead.items()):
            behind = (self.next - seq + _MODULO // 2) % _MODULO - _MODULO // 2
            if behind < 0:
                continue
            del self.ahead[seq]
            if behind < len(data):
                return data[behind:], is_cut
        return None

    def _whole_messages(self) -> list[Message]:
        messages, at = list[Message](), 0
        while len(self.text) - at >= _LENGTH_BYTES:
            begin = at + _LENGTH_BYTES
            end = begin + int.from_bytes(self.text[at:begin])
            if end > len(self.text):
                break
            messages.append(Message(bytes(self.text[begin:end]), is_cut=False))
            at = end
        del self.text[:at]
        return messages


class _Stream:
    """Both directions of one connection."""

    def __init__(self, packet: DnsPacket, place: TcpPlace) -> None:
        self.ends = (packet.local, packet.local_port, packet.remote)
        self.sent = _Half(place)
        self.received: _Half | None = None

    @property
    def size_bytes(self) -> int:
        """How much memory its bytes take."""
        return self.sent.size_bytes + (self.received.size_bytes if self.received else 0)


class Streams:
    """The connections to DNS servers: a bounded number, and bytes. Who has most loses one first."""

    def __init__(self, most: int = MOST_STREAMS, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._streams: dict[int, _Stream] = {}
        self._shares = Shares[int]()
        self._bytes = 0
        self.forgotten = 0
        """Streams that were given up since they were too many, or too much was missing."""

    def __len__(self) -> int:
        """Return how many are followed."""
        return len(self._streams)

    @property
    def size_bytes(self) -> int:
        """How much all that waits takes."""
        return self._bytes

    def feed(self, packet: DnsPacket, user: User = None) -> list[Message]:
        """Take a segment of a socket of *user*; return the messages that are whole by it."""
        if packet.tcp is None:
            return []
        stream = self._stream_of(packet, packet.tcp, user)
        half = None if stream is None else self._half(stream, packet, packet.tcp)
        if stream is None or half is None:
            return []
        was_bytes, was_lost = stream.size_bytes, half.is_lost
        is_syn = bool(packet.tcp.flags & _SYN)
        messages = half.feed(packet.tcp.seq + is_syn, packet.payload, is_cut=packet.is_cut)
        self._bytes += stream.size_bytes - was_bytes
        self.forgotten += half.is_lost and not was_lost and not packet.is_cut
        self._keep_within(packet, packet.tcp, half)
        return messages

    def _stream_of(self, packet: DnsPacket, place: TcpPlace, user: User) -> _Stream | None:
        ends = (packet.local, packet.local_port, packet.remote)
        stream = self._streams.get(packet.sock_cookie)
        if packet.direction is Direction.SENT and place.flags & (_SYN | _ACK) == _SYN:
            if stream is None or stream.ends != ends or stream.sent.first != place.seq:
                self._forget(packet.sock_cookie)
                stream = self._streams[packet.sock_cookie] = _Stream(packet, place)
                self._shares.use(packet.sock_cookie, user)
                self._shares.add(packet.sock_cookie, 1)
        elif stream is None or stream.ends != ends:
            return None
        self._shares.use(packet.sock_cookie, user)
        return stream

    def _half(self, stream: _Stream, packet: DnsPacket, place: TcpPlace) -> _Half | None:
        if packet.direction is Direction.SENT:
            return stream.sent
        if place.flags & _SYN and stream.received is None:
            # It may acknowledge the SYN alone, or what was sent with it as well (RFC 7413).
            sent_bytes = (stream.sent.next - stream.sent.first) % _MODULO
            if not 0 < (place.ack - stream.sent.first) % _MODULO <= sent_bytes:
                return None
            stream.received = _Half(place)
        return stream.received

    def _keep_within(self, packet: DnsPacket, place: TcpPlace, half: _Half) -> None:
        is_over = place.flags & _FIN and packet.direction is Direction.RECEIVED
        if is_over and half.next == (place.seq + len(packet.payload)) % _MODULO:
            self._forget(packet.sock_cookie)
        while self._streams and (len(self._streams) > self._most or self._bytes > self._most_bytes):
            self._forget(self._shares.one_too_many())
            self.forgotten += 1

    def _forget(self, sock_cookie: int) -> None:
        stream = self._streams.pop(sock_cookie, None)
        if stream is not None:
            self._shares.add(sock_cookie, -1)
            self._shares.remove(sock_cookie)
            self._bytes -= stream.size_bytes
