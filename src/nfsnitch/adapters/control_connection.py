"""One client of the control socket.

It is read only while it owes nothing: not before the last answer has been taken, not while a
request is in work, not while its user asks too often. So what it can make the daemon keep is
bounded by one read and one answer, and for a watcher by the backlog of records.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.control_outbox import Outbox
from nfsnitch.adapters.peer import Peer
from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    MAX_REQUEST_BYTES,
    Lines,
    Missed,
    ProtocolError,
    Refused,
    Reply,
    Request,
    Right,
    Stopping,
    Why,
    decode_request,
    encode,
)

_log = logging.getLogger(__name__)

_FOR_WHOM = {
    Right.WATCH: "for root and members of the group that may watch",
    Right.ANSWER: "for root and members of the group that may answer; you may watch",
    Right.CONTROL: "for root alone",
}
_READ_BYTES = 4_096
_SLOWED_S = 0.1


class Office(Protocol):
    """What a connection needs of the server."""

    limits: ControlLimits

    def may_ask(self, uid: int, rights: frozenset[Right]) -> bool:
        """Whether the user may ask now; if so, it counts as asked."""

    def spent(self, uid: int, rights: frozenset[Right], cpu_s: float) -> None:
        """Take note of what a request of the user has cost."""

    def count(self, counter: Counter, amount: int = 1) -> None:
        """Count something."""

    def answer(self, connection: Connection, request: Request) -> None:
        """Carry out a request that is allowed, and `Connection.reply` now or later."""

    def drained(self, connection: Connection) -> None:
        """Go on telling a client that has taken all that it was told."""

    def gone(self, connection: Connection) -> None:
        """Forget a connection that has been closed."""


class Connection:
    """A client that has been let in."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        peer: Peer,
        rights: frozenset[Right],
        office: Office,
    ) -> None:
        """Serve *client*, a socket that does not block, until it or *office* closes it."""
        self.peer, self.rights = peer, rights
        self._loop, self._client, self._office = loop, client, office
        self._cutter = Lines(MAX_REQUEST_BYTES)
        self._lines: deque[bytes] = deque()
        self._outbox = Outbox(client, office.limits.backlog_bytes)
        self._missed = 0
        """Records dropped that the client has not been told of."""
        self._watches = False
        self._handling = False
        self._in_work = False
        self._slowed = False
        self._over = False
        """Nothing more is read: the client has said all, or is to go once it has been told."""
        self._closed = False
        self._reads, self._writes = False, False
        """What the loop wakes it for."""
        self._timer = loop.call_later(office.limits.silent_s, self._guarded, self._time_over)
        self._update()

    def reply(self, message: Reply) -> None:
        """Answer the request that is in work."""
        if self._closed:
            return
        self._in_work = False
        self._send(message)
        if not self._handling:
            self._guarded(self._proceed)

    def hand_over(self, message: Reply, fds: Sequence[int]) -> None:
        """Answer the request that is in work, with descriptors that the client gets copies of.

        Raises:
            OSError: the client does not take it at once; nothing has been said.

        """
        if self._closed:
            return
        line = encode(message)
        # Nothing that was said before waits: a request is handled when all has been taken.
        sent = socket.send_fds(self._client, [line], fds, socket.MSG_NOSIGNAL)
        if sent < len(line):
            self._outbox.put(line[sent:])
        self._in_work = False

    def watch(self, message: Reply) -> None:
        """Answer a request to watch; from here on the client is never too idle."""
        self._watches = True
        self._timer.cancel()
        self.reply(message)

    def offer(self, record: bytes) -> None:
        """Give a watcher a record, unless it has too many unread ones; `flush` sends it."""
        notice = encode(Missed(self._missed)) if self._missed else b""
        if not self._outbox.has_room_for(notice + record):
            self.miss(1)
            return
        if notice:
            self._outbox.put(notice)
            self._missed = 0
        self._outbox.put(record)

    @property
    def has_room(self) -> bool:
        """Whether the client has read enough of what it was told to be told more."""
        return not self._outbox.size or self._outbox.has_room_for(b"")

    def put(self, line: bytes) -> None:
        """Add something that is said unasked; `flush` sends it."""
        self._outbox.put(line)

    def miss(self, count: int) -> None:
        """Take note of records that a watcher does not get."""
        self._missed += count
        self._office.count(Counter.WATCH_DROPPED, count)

    def flush(self) -> None:
        """Send what can be sent."""
        self._guarded(self._flush)

    def part(self) -> None:
        """Say that the daemon stops, as far as that goes without waiting, and close."""
        if not self._closed:
            self._send(Stopping())
            self._guarded(self._flush)
            self.close()

    def close(self) -> None:
        """Close the connection; once is enough."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._loop.remove_reader(self._client)
        self._loop.remove_writer(self._client)
        self._client.close()
        self._office.gone(self)

    def _guarded(self, callback: Callable[[], None]) -> None:
        """Do something; should it fail, this client bears it, and nobody else."""
        if self._closed:
            return
        try:
            callback()
        except OSError:  # the client is gone
            self.close()
        except Exception:  # noqa: BLE001  packets go on being judged
            _log.exception("a control connection of user %d failed", self.peer.uid)
            self._office.count(Counter.CONTROL_ERRORS)
            self.close()

    def _read(self) -> None:
        try:
            data = self._client.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._end()
            return
        try:
            self._lines += self._cutter.feed(data)
        except ProtocolError as problem:
            self._refuse_for_good(problem.why, str(problem))
        self._proceed()

    def _end(self) -> None:
        """Go on without reading: the client has closed, or waits for the rest of an answer."""
        self._over = True
        if self._watches:
            self.close()
        else:
            self._flush()

    def _proceed(self) -> None:
        self._outbox.send()
        while self._lines and not (
            self._in_work or self._slowed or self._over or self._outbox.size
        ):
            if not self._office.may_ask(self.peer.uid, self.rights):
                self._slow_down()
                break
            self._handling = True
            began_s = time.thread_time()
            self._handle(self._lines.popleft())
            self._office.spent(self.peer.uid, self.rights, time.thread_time() - began_s)
            self._handling = False
            self._outbox.send()
        self._flush()

    def _handle(self, line: bytes) -> None:
        self._be_patient(self._office.limits.idle_s)
        try:
            request = decode_request(line)
        except ProtocolError as problem:
            if problem.why is Why.UNKNOWN_TYPE:
                self._refuse(problem.why, str(problem))
            else:
                self._refuse_for_good(problem.why, str(problem))
            return
        if request.right not in self.rights:
            self._refuse(Why.NOT_ALLOWED, f"{request.type} is {_FOR_WHOM[request.right]}")
            return
        self._in_work = True
        self._office.answer(self, request)

    def _slow_down(self) -> None:
        self._slowed = True
        self._office.count(Counter.CONTROL_SLOWED)
        self._loop.call_later(_SLOWED_S, self._guarded, self._speed_up)

    def _speed_up(self) -> None:
        self._slowed = False
        self._proceed()

    def _refuse(self, why: Why, text: str) -> None:
        self._office.count(Counter.CONTROL_REFUSED)
        self._send(Refused(why.value, text))

    def _refuse_for_good(self, why: Why, text: str) -> None:
        self._over = True
        self._watches = False
        self._refuse(why, text)
        self._be_patient(self._office.limits.linger_s)

    def _send(self, message: Reply) -> None:
        self._outbox.put(encode(message))

    def _flush(self) -> None:
        self._outbox.send()
        if self._missed and not self._outbox.size:
            self._send(Missed(self._missed))
            self._missed = 0
            self._outbox.send()
        if self._over and not self._in_work and not self._outbox.size:
            self.close()
            return
        self._update()
        if self._watches and not self._outbox.size:
            self._office.drained(self)

    def _update(self) -> None:
        """Be woken for what can be done now, and for nothing else."""
        unread = bool(self._outbox.size)
        owes = unread or self._lines or self._in_work or self._slowed or self._over
        if owes and self._reads:
            self._loop.remove_reader(self._client)
        elif not owes and not self._reads:
            self._loop.add_reader(self._client, self._guarded, self._read)
        if unread and not self._writes:
            self._loop.add_writer(self._client, self._guarded, self._proceed)
        elif self._writes and not unread:
            self._loop.remove_writer(self._client)
        self._reads, self._writes = not owes, unread

    def _be_patient(self, seconds: float) -> None:
        self._timer.cancel()
        if not self._watches:
            self._timer = self._loop.call_later(seconds, self._guarded, self._time_over)

    def _time_over(self) -> None:
        if self._in_work or self._slowed:  # it is not the client that is slow
            self._be_patient(self._office.limits.idle_s)
            return
        if self._over or self._outbox.size:  # it does not read what it was told
            self.close()
            return
        self._refuse_for_good(Why.SILENT, "nothing was asked for too long")
        self._flush()
