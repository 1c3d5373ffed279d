"""The daemon's end of the control socket: who is let in, and what becomes of requests.

A client is a program of somebody else's. It may send nonsense, never read, never write, come a
thousand times at once or vanish: nothing of that may cost a verdict. So everything here is bounded
(`ControlLimits`), nothing waits, and what goes wrong with one client ends that client alone.

asyncio's own Unix server is not used: out of descriptors it reports to the loop's exception
handler, which here means a crash, and its buffers are bounded by nobody.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from nfsnitch.adapters.control_connection import Connection
from nfsnitch.adapters.control_errors import RefusalError
from nfsnitch.adapters.control_limits import ControlLimits, RequestRates
from nfsnitch.adapters.control_questions import QuestionStream, Source
from nfsnitch.adapters.control_socket import ControlSocket
from nfsnitch.adapters.control_watchers import Watchers
from nfsnitch.adapters.peer import Peer, peer_of
from nfsnitch.adapters.rate_limit import RateLimit
from nfsnitch.core.alike import Alike
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Record
from nfsnitch.protocol import (
    Asking,
    Owners,
    OwnersRequest,
    QuestionsRequest,
    Refused,
    Reloaded,
    ReloadRequest,
    Reply,
    Request,
    Right,
    Status,
    StatusRequest,
    Stopping,
    StopRequest,
    Watching,
    WatchRequest,
    Why,
    encode,
)

_log = logging.getLogger(__name__)

_ACCEPTS_PER_TURN = 8
_TOO_QUICK_S = 0.05


Other = Callable[[Any, Peer], Reply | Awaitable[Reply]]
"""Carries out a request of a client; raises `RefusalError`."""


class Handlers(NamedTuple):
    """What the daemon does for its clients."""

    status: Callable[[], Status]
    stop: Callable[[], None]
    """Begin to stop; it may go on after the return."""
    reload: Callable[[], Awaitable[Reloaded]] | None
    """None: this daemon cannot."""
    owners: Callable[[], dict[str, int]] | None = None
    """Opens files that list owners, by what each lists; None: there are none. See `Owners`."""
    questions: Source | None = None
    """What is asked; None: this daemon asks nobody."""
    others: Mapping[type[Request], Other] = MappingProxyType({})
    """What else can be asked for, by the class of the request."""


class ControlServer:
    """Serves the clients of one control socket; an `Office` to their connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        control: ControlSocket,
        handlers: Handlers,
        counters: collections.Counter[Counter],
        limits: ControlLimits | None = None,
    ) -> None:
        """Take clients from *control* once `start` is called, and count in *counters*."""
        self.limits = limits or ControlLimits()
        self._loop, self._control, self._handlers = loop, control, handlers
        self.rights_of = control.rights_of
        self._counters = counters
        self._watchers = Watchers(loop, self.limits.pending_records)
        source = handlers.questions or Source(_asks_nobody, list, lambda _number: None)
        self.questions = QuestionStream(loop, source, self.count)
        self._connections: dict[Connection, None] = {}
        self._accepts = RateLimit(self.limits.accepts_per_s, self.limits.accepts_at_once)
        self._rates = RequestRates(self.limits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_reload = asyncio.Lock()
        self._closed = False
        self._answers: dict[type[Request], Callable[[Connection], None]] = {
            StatusRequest: self._answer_status,
            WatchRequest: self._answer_watch,
            OwnersRequest: self._answer_owners,
            QuestionsRequest: self._answer_questions,
            ReloadRequest: self._answer_reload,
            StopRequest: self._answer_stop,
        }

    @property
    def watchers(self) -> int:
        """How many clients watch."""
        return len(self._watchers)

    def start(self) -> None:
        """Take clients from now on."""
        if not self._closed:
            self._loop.add_reader(self._control.listener, self._take)

    def record(self, record: Record) -> None:
        """Let the watchers know of a decision, soon."""
        self._watchers.record(record)

    def record_alike(self, records: Sequence[Alike]) -> None:
        """Let them know of many."""
        self._watchers.record_alike(records)

    def close(self) -> None:
        """Send the watchers what they take at once, say goodbye to everybody; once is enough."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._control.listener)
        self._control.close()
        self._watchers.hand_out_all()
        self.questions.hand_out_all()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        for connection in tuple(self._connections):
            connection.part()

    def may_ask(self, uid: int, rights: frozenset[Right]) -> bool:
        """Whether the user may ask now; if so, it counts as asked."""
        return self._rates.take(uid, may_answer=Right.ANSWER in rights)

    def spent(self, uid: int, rights: frozenset[Right], cpu_s: float) -> None:
        """Take note of what a request of the user has cost."""
        self._rates.charge(uid, cpu_s, may_answer=Right.ANSWER in rights)

    def count(self, counter: Counter, amount: int = 1) -> None:
        """Count something."""
        self._counters[counter] += amount

    def drained(self, connection: Connection) -> None:
        """Go on telling a client that has taken all that it was told."""
        self.questions.drained(connection)

    def gone(self, connection: Connection) -> None:
        """Forget a connection that has been closed."""
        self._connections.pop(connection, None)
        self._watchers.discard(connection)
        self.questions.discard(connection)

    def answer(self, connection: Connection, request: Request) -> None:
        """Carry out a request that is allowed."""
        answer = self._answers.get(type(request))
        try:
            if answer is not None:
                answer(connection)
            else:
                self._answer_other(connection, request)
        except RefusalError as refusal:
            connection.reply(self._no(refusal))
        except Exception:  # noqa: BLE001  `_failed` logs it; packets go on being judged
            connection.reply(self._failed(request.type))

    def _answer_other(self, connection: Connection, request: Request) -> None:
        other = self._handlers.others.get(type(request))
        if other is None:
            raise RefusalError(Why.NOT_SUPPORTED, f"this daemon knows no {request.type}")
        reply = other(request, connection.peer)
        if isinstance(reply, Awaitable):
            self._in_time(connection, request.type, reply)
        else:
            connection.reply(reply)

    def _answer_questions(self, connection: Connection) -> None:
        if self._handlers.questions is None:
            raise RefusalError(Why.NOT_SUPPORTED, "this daemon asks nobody")
        connection.watch(self._handlers.questions.asking(connection.rights))
        self.questions.add(connection)

    def _take(self) -> None:
        try:
            for _ in range(_ACCEPTS_PER_TURN):
                if not self._accepts.take():
                    self._pause(_TOO_QUICK_S)
                    return
                client, _ = self._control.listener.accept()
                self._admit(client)
        except BlockingIOError:
            return  # that was all
        except Exception as problem:  # noqa: BLE001  whatever it was, packets go on being judged
            # The client still waits there, so the socket stays readable: look again later.
            _log.debug("no client could be taken: %r", problem)
            self.count(Counter.CONTROL_ACCEPT_ERRORS)
            self._pause(self.limits.retry_s)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._control.listener)
        self._loop.call_later(seconds, self.start)

    def _admit(self, client: socket.socket) -> None:
        client.settimeout(0)
        try:
            peer = peer_of(client)
        except OSError:
            client.close()
            return
        rights = self.rights_of(peer)
        if not rights:
            text = (
                f"user {peer.uid} is neither root nor a member of a group that may watch or answer"
            )
            self._turn_away(client, Refused(Why.NOT_ALLOWED.value, text))
        elif self._is_one_too_many(peer, rights):
            text = "too many connections are open already; close some, or try again later"
            self._turn_away(client, Refused(Why.TOO_MANY.value, text))
        else:
            self._connections[Connection(self._loop, client, peer, rights, self)] = None

    def _is_one_too_many(self, peer: Peer, rights: frozenset[Right]) -> bool:
        limits = self.limits
        uids = [connection.peer.uid for connection in self._connections]
        if uids.count(peer.uid) >= limits.connections_of_user:
            return True
        if peer.uid == 0:
            return False
        if len(uids) - uids.count(0) >= limits.connections_of_others:
            return True
        watchers = [each for each in self._connections if Right.ANSWER not in each.rights]
        return Right.ANSWER not in rights and len(watchers) >= limits.connections_of_watchers

    def _turn_away(self, client: socket.socket, refusal: Refused) -> None:
        self.count(Counter.CONTROL_REFUSED)
        with suppress(OSError):
            client.send(encode(refusal), socket.MSG_NOSIGNAL)
        client.close()

    def _answer_status(self, connection: Connection) -> None:
        connection.reply(self._handlers.status())

    def _answer_watch(self, connection: Connection) -> None:
        self._watchers.add(connection)
        connection.watch(Watching())

    def _answer_owners(self, connection: Connection) -> None:
        files = self._handlers.owners() if self._handlers.owners else {}
        if not files:
            text = "the daemon could not pin what lists owners; its log says why"
            connection.reply(Refused(Why.NOT_SUPPORTED.value, text))
            return
        try:
            connection.hand_over(Owners(tuple(files)), list(files.values()))
        finally:
            for fd in files.values():
                os.close(fd)

    def _answer_stop(self, connection: Connection) -> None:
        connection.reply(Stopping())
        self._handlers.stop()

    def _answer_reload(self, connection: Connection) -> None:
        if self._handlers.reload is None:
            text = "this daemon cannot reload; restart it"
            connection.reply(Refused(Why.NOT_SUPPORTED.value, text))
            return
        self._in_time(connection, ReloadRequest.type, self._reload(self._handlers.reload))

    def _in_time(self, connection: Connection, request: str, reply: Awaitable[Reply]) -> None:
        """Answer with what *reply* comes to be."""
        task = self._loop.create_task(self._answer_later(connection, request, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(
        self, connection: Connection, request: str, reply: Awaitable[Reply]
    ) -> None:
        try:
            answer = await reply
        except RefusalError as refusal:
            answer = self._no(refusal)
        except Exception:  # noqa: BLE001  the daemon goes on with the rules it has
            answer = self._failed(request)
        connection.reply(answer)

    async def _reload(self, reload: Callable[[], Awaitable[Reloaded]]) -> Reply:
        async with self._one_reload:
            return await reload()

    def _no(self, refusal: RefusalError) -> Refused:
        self.count(Counter.CONTROL_REFUSED)
        return Refused(refusal.why.value, str(refusal))

    def _failed(self, request: str) -> Refused:
        _log.exception("the request %s failed", request)
        self.count(Counter.CONTROL_ERRORS)
        return Refused(Why.FAILED.value, "the daemon failed on it; its log says more")


def _asks_nobody(_rights: frozenset[Right]) -> Asking:
    return Asking((), "ask", None, 0.0, "deny")
