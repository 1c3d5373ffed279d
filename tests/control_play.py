"""A control server in an event loop of the test's own, and clients that talk to it in that loop."""

from __future__ import annotations

import asyncio
import collections
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from builders import WALL_NS, flow, process
from nfsnitch.adapters.control import ControlServer, Handlers
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.control_questions import Source
from nfsnitch.adapters.control_socket import ControlSocket
from nfsnitch.adapters.peer import Peer
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.owner import Attribution
from nfsnitch.core.record import Record
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    Lines,
    Missed,
    Recorded,
    Refused,
    Reloaded,
    Reply,
    Request,
    Right,
    Status,
    StatusRequest,
    Watching,
    WatchRequest,
    decode_reply,
    encode,
)

T = TypeVar("T")

TIMEOUT_S = 20.0
STATUS = Status(
    version="1.2.3",
    pid=4_711,
    uptime_s=7_500.25,
    netns=4_026_531_840,
    queue_num=7_301,
    queueing="nft",
    queue_waiting=3,
    queue_length=32_768,
    attach="cgroup",
    attach_why="nothing better is to be had",
    cache_problem=None,
    rule_files=("/etc/nfsnitch/rules.yaml",),
    rules=12,
    generation=2,
    default="ask",
    unattributed="deny",
    unanswered="deny",
    fail="closed",
    held_flows=1,
    held_limit=16_384,
    questions=1,
    mode="ask",
    mode_left_s=None,
    answers_file="/var/lib/nfsnitch/answers.yaml",
    answers_problem=None,
    lasting_answers=3,
    temporary_answers=1,
    known_names=3,
    lists=2,
    lists_missing=("ads",),
    memory_bytes=31_200_000,
    watchers=0,
    counters={counter.value: 0 for counter in Counter},
)


def a_record(number: int) -> Record:
    """Return a record that can be told from others by its time."""
    decision = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
    return Record(
        WALL_NS + number * 1_000,
        decision,
        0,
        1,
        flow(),
        process(),
        Attribution.FLOW_MAP,
        4_026_531_840,
        "eth0",
    )


class Client:
    """A client that may say anything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        """Connect to *path*; the server need not have looked yet."""
        self._loop = loop
        self._cutter = Lines(MAX_REPLY_BYTES)
        self._lines: deque[bytes] = deque()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = path

    def connect(self) -> None:
        """Connect."""
        self.socket.connect(os.fspath(self.path))
        self.socket.settimeout(0)

    async def say(self, *what: bytes | Request) -> None:
        """Send bytes and requests."""
        for each in what:
            raw = each if isinstance(each, bytes) else encode(each)
            await self._loop.sock_sendall(self.socket, raw)

    async def hear(self) -> Reply | None:
        """Return the next message; None when the connection has ended."""
        while not self._lines:
            data = b""
            with suppress(ConnectionResetError):
                data = await self._loop.sock_recv(self.socket, 1 << 16)
            if not data:
                return None
            self._lines += self._cutter.feed(data)
        return decode_reply(self._lines.popleft())

    async def ask(self, request: Request) -> Reply | None:
        """Send a request and return what comes back."""
        await self.say(request)
        return await self.hear()

    def close(self) -> None:
        """Vanish."""
        self.socket.close()


class Play:
    """The server, what it was asked to do, and what it counted."""

    def __init__(
        self, folder: Path, limits: ControlLimits | None = None, source: Source | None = None
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.source = source
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.rights: frozenset[Right] = frozenset(Right)
        self.stops = 0
        self.on_status: Callable[[], Status] = lambda: STATUS
        self.on_reload: Callable[[], Awaitable[Reloaded]] | None = None
        self.path = folder / "control.sock"
        self._failures: list[object] = []
        self.loop.set_exception_handler(lambda _loop, context: self._failures.append(context))
        self.limits = limits
        self._clients: list[Client] = []
        self.control = ControlSocket(self.path)
        self.server = self._started()

    def client(self) -> Client:
        """Return a new, connected client."""
        client = self.unconnected()
        client.connect()
        return client

    def unconnected(self) -> Client:
        """Return a new client."""
        client = Client(self.loop, self.path)
        self._clients.append(client)
        return client

    def run(self, doing: Awaitable[T]) -> T:
        """Let client and server talk until *doing* is done; returns what it returns."""
        return self.loop.run_until_complete(asyncio.wait_for(doing, TIMEOUT_S))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until something holds."""
        while not holds():  # noqa: ASYNC110  what is waited for knows nothing of events
            await asyncio.sleep(0.001)

    def close(self) -> None:
        """End it all; nothing may have reached the loop's handler for failures."""
        self.server.close()
        for client in self._clients:
            client.close()
        self.loop.close()
        assert self._failures == []

    def _started(self) -> ControlServer:
        handlers = Handlers(self._status, self._stop, self._reload, questions=self.source)
        server = ControlServer(self.loop, self.control, handlers, self.counters, self.limits)
        server.rights_of = self._rights_of
        server.start()
        return server

    def _status(self) -> Status:
        return self.on_status()

    def _rights_of(self, peer: Peer) -> frozenset[Right]:
        assert peer.pid == os.getpid()
        return self.rights

    def _stop(self) -> None:
        self.stops += 1

    async def _reload(self) -> Reloaded:
        assert self.on_reload is not None
        return await self.on_reload()


MakePlay = Callable[..., Play]
"""Returns a play with these limits; it ends with the test."""


def refusal(reply: Reply | None) -> str:
    """Return why it was refused."""
    assert isinstance(reply, Refused), reply
    return reply.why


async def still_served(play: Play) -> bool:
    """Tell whether another client gets its answer."""
    return isinstance(await play.client().ask(StatusRequest()), Status)


async def watching(play: Play) -> Client:
    """Return a client that watches."""
    client = play.client()
    assert await client.ask(WatchRequest()) == Watching()
    return client


async def records_of(client: Client, count: int) -> list[int]:
    """Return the numbers of the next records; what was missed counts as that many of them."""
    numbers: list[int] = []
    missed = 0
    while len(numbers) + missed < count:
        message = await client.hear()
        if isinstance(message, Missed):
            missed += message.count
        else:
            assert isinstance(message, Recorded), message
            numbers.append(int(message.record["time"][-7:-1]))
    return numbers
