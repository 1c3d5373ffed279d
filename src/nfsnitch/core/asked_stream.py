"""Messages of DNS over TCP, each with its length in front (RFC 1035, 4.2.2; RFC 7766)."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow
from nfsnitch.core.packet import Malformed
from nfsnitch.core.segment import URG
from nfsnitch.core.shares import Shares, user_of
from nfsnitch.core.unknown import Unknown

_LENGTH_BYTES = 2
_MAX_MESSAGE_BYTES = 4_096
"""A question is one name; one with all options that there are stays far below."""
_MOST_STREAMS = 512
_WRAP = 1 << 32


_Key = tuple[Flow, int | None]
"""A flow and its socket, if that is known."""


class _Stream(NamedTuple):
    next_seq: int
    rest: bytes
    """The beginning of a message. It has left: without its end nobody can answer it."""


class AskedStreams:
    """What clients have sent on connections to port 53, each from its SYN on.

    They are a bounded number: where there are too many, the user who has most loses the oldest.
    On one that is not known, or not any more, nothing is read: it might be the midst of a message.
    """

    def __init__(self) -> None:
        self._streams: dict[_Key, _Stream] = {}
        self._shares = Shares[_Key]()

    def messages(self, arrival: FlowArrived) -> list[bytes] | Malformed:
        """Return the messages that a segment completes.

        `Malformed`: it is not to be read as what it would be to the server. Where it may leave, say
        so by `passed`: else the same bytes, sent again, are read again.
        """
        taken = self._taken(arrival)
        return taken if isinstance(taken, Malformed) else taken[0]

    def passed(self, arrival: FlowArrived) -> None:
        """Take note that a segment leaves."""
        taken = self._taken(arrival)
        if isinstance(taken, Malformed) or taken[1] is None:
            return
        key = _key(arrival)
        self._shares.use(key, user_of(arrival.found.owner))
        self._shares.add(key, key not in self._streams)
        self._streams[key] = taken[1]
        if len(self._streams) > _MOST_STREAMS:
            self._forget(self._shares.one_too_many())

    def _forget(self, key: _Key) -> None:
        del self._streams[key]
        self._shares.add(key, -1)
        self._shares.remove(key)

    def _taken(self, arrival: FlowArrived) -> tuple[list[bytes], _Stream | None] | Malformed:
        """Return the messages, and how the stream goes on; None: a segment without data."""
        segment = arrival.segment
        if segment is None or segment.tcp is None or (segment.is_empty and not segment.opens):
            return [], None
        if segment.is_cut:
            return Malformed("it is longer than what the kernel shows of a packet")
        if segment.has(URG):
            return Malformed("it is urgent, and a byte of it is for the server to leave out")
        seq = (segment.tcp.seq + segment.opens) % _WRAP
        stream = _Stream(seq, b"") if segment.opens else self._streams.get(_key(arrival))
        again = _WRAP if stream is None else (stream.next_seq - seq) % _WRAP
        if stream is None or again >= _WRAP // 2:
            return Malformed("what is before it on its connection is not known")
        fresh = segment.data[again:]
        split = _split(stream.rest + fresh)
        if isinstance(split, Malformed):
            return split
        messages, rest = split
        return messages, _Stream((stream.next_seq + len(fresh)) % _WRAP, rest)


def _key(arrival: FlowArrived) -> _Key:
    cookie = arrival.found.sock_cookie
    return arrival.flow, None if isinstance(cookie, Unknown) else cookie


def _split(data: bytes) -> tuple[list[bytes], bytes] | Malformed:
    """Return the whole messages that *data* begins with, and what is behind them."""
    messages, at = list[bytes](), 0
    while at + _LENGTH_BYTES <= len(data):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if size > _MAX_MESSAGE_BYTES:
            return Malformed(f"it is said to have {size} bytes, more than a question needs")
        end = at + _LENGTH_BYTES + size
        if end > len(data):
            break
        messages.append(data[at + _LENGTH_BYTES : end])
        at = end
    return messages, data[at:]
