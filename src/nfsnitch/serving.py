"""What clients of the control socket get: status, records, and what they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from nfsnitch import protocol
from nfsnitch.adapters.control import ControlServer, Handlers
from nfsnitch.adapters.control_questions import QuestionStream
from nfsnitch.adapters.control_socket import ControlSocket
from nfsnitch.adapters.peer import Peer
from nfsnitch.core.alike import Alike
from nfsnitch.core.record import Record
from nfsnitch.protocol import Status, socket_path
from nfsnitch.reload import Reloaded
from nfsnitch.status import Parts, status

Other = Callable[[Any, Peer], protocol.Reply | Awaitable[protocol.Reply]]


class Doings(NamedTuple):
    """What clients can have the daemon do."""

    end: Callable[[], None]
    reload: Callable[[], Awaitable[Reloaded]]
    collect_counters: Callable[[], None]
    others: Mapping[type[protocol.Request], Other]
    """Requests of which the server itself knows nothing."""


class Serving:
    """The control socket, and the daemon's side of what is asked there."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        parts: Parts,
        doings: Doings,
        stack: ExitStack,
    ) -> None:
        """Prepare it; *stack* takes it down again. `start` comes next."""
        self._loop = loop
        self._parts = parts
        self._doings = doings
        self._count_again_s = 0.0
        options, people = parts.options, parts.people
        path = options.socket or Path(socket_path(parts.ground.namespace))
        own = (self._status, doings.end, self._reload, parts.ground.kept.listings)
        handlers = Handlers(*own, people.source, {**people.others, **doings.others})
        control = ControlSocket(path, options.group, options.answer_group)
        self._server = ControlServer(loop, control, handlers, parts.counters)
        stack.callback(self._server.close)

    @property
    def questions(self) -> QuestionStream:
        """What clients are told of questions."""
        return self._server.questions

    def start(self) -> None:
        """Let clients in from here on."""
        self._server.start()

    def close(self) -> None:
        """Let all clients go."""
        self._server.close()

    def record(self, record: Record) -> None:
        """Tell a decision to whoever watches or asks later."""
        self._server.record(record)
        self._parts.people.record(record)

    def record_alike(self, records: Sequence[Alike]) -> None:
        """Tell many decisions, of which whole records are made for those who want them."""
        self._server.record_alike(records)
        self._parts.people.record_alike(records)

    async def _reload(self) -> protocol.Reloaded:
        done = await self._doings.reload()
        return protocol.Reloaded(done.generation, done.rules, done.cut_flows, done.problem)

    def _status(self) -> Status:
        began_s = self._loop.time()
        if began_s >= self._count_again_s:
            self._doings.collect_counters()
            # Asking the kernel is dear, and watchers may ask: a tenth of the time at most.
            now_s = self._loop.time()
            self._count_again_s = now_s + 9 * (now_s - began_s)
        return status(self._parts, self._server.watchers)
