"""Questions for a control server in a test's own loop, and clients that are told of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from control_play import Client, MakePlay, Play
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.control_questions import QuestionStream, Source
from nfsnitch.protocol import (
    Asked,
    Asking,
    Ended,
    Mode,
    ModeChanged,
    QuestionsRequest,
    Reply,
    Resync,
    Right,
    RulesChanged,
)

ASKING = Asking(("answer", "control", "watch"), "ask", None, 30.0, "deny")
QUESTION = Asked(
    number=0,
    since="2026-11-22T00:17:38.000000Z",
    left_s=30.0,
    flows=1,
    reason="default",
    rule=None,
    owner={"owner": "process", "pid": 4_711, "exe": "/usr/bin/curl", "args": ["curl"]},
    rivals=(),
    flow={"proto": "tcp", "saddr": "192.0.2.2", "daddr": "192.0.2.1", "dport": 443},
    iface="eth0",
    attribution="flow-map",
    who={"program": "/usr/bin/curl"},
    where={"anywhere": ""},
    times=None,
    silently=None,
)


class Board:
    """What is asked, and the stream that tells of it."""

    def __init__(self) -> None:
        self.questions: dict[int, Asked] = {}
        self.mode = Mode.ASK
        self.broken: set[int] = set()
        """Questions on which the daemon fails."""
        self.source = Source(self._asking, lambda: list(self.questions), self._question)
        self.stream: QuestionStream | None = None
        self.looked_up = 0

    def play(self, make: MakePlay, limits: ControlLimits | None = None) -> Play:
        """Return a play in which this is asked."""
        play = make(limits or ControlLimits(requests_at_once=1_000_000), self.source)
        self.stream = play.server.questions
        return play

    def ask(self, *numbers: int, flows: int = 1) -> None:
        """Ask, or change a question."""
        assert self.stream is not None
        for number in numbers:
            self.questions[number] = replace(QUESTION, number=number, flows=flows)
            self.stream.asked(number)

    def end(self, *numbers: int, outcome: str = "unanswered") -> None:
        """End questions."""
        assert self.stream is not None
        for number in numbers:
            del self.questions[number]
            self.stream.ended(Ended(number, outcome, None, None))

    def set_mode(self, mode: Mode) -> None:
        """Set the mode."""
        assert self.stream is not None
        self.mode = mode
        self.stream.notify(ModeChanged(mode.value, None))

    def _asking(self, rights: frozenset[Right]) -> Asking:
        return replace(ASKING, rights=tuple(sorted(rights)), mode=self.mode.value)

    def _question(self, number: int) -> Asked | None:
        self.looked_up += 1
        if number in self.broken:
            raise KeyError(number)
        return self.questions.get(number)


class Listener:
    """A client that believes what it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[Reply] = []
        self.seen: dict[int, Asked] = {}
        self.mode = ""
        self.generation = 0

    async def begin(self) -> Asking:
        """Ask to be told."""
        reply = await self.client.ask(QuestionsRequest())
        assert isinstance(reply, Asking), reply
        self.mode = reply.mode
        return reply

    async def hear(self) -> Reply | None:
        """Hear one message, and return it; None: there are no more."""
        message = await self.client.hear()
        if message is None:
            return None
        self.heard.append(message)
        if isinstance(message, Asked):
            self.seen[message.number] = message
        elif isinstance(message, Ended):
            # What it has not been asked, it is not told the end of.
            del self.seen[message.number]
        elif isinstance(message, Resync):
            self.seen.clear()
        elif isinstance(message, ModeChanged):
            self.mode = message.mode
        elif isinstance(message, RulesChanged):
            self.generation = message.generation
        return message

    async def until_it_knows(self, board: Board) -> None:
        """Hear until it believes what is so."""
        while self.seen != board.questions or self.mode != board.mode:
            assert await self.hear() is not None, "the connection has ended"

    def count(self, kind: type[Reply]) -> int:
        """Return how many messages of a class it has heard."""
        return sum(isinstance(each, kind) for each in self.heard)


async def listening(play: Play) -> Listener:
    """Return a client that is told what is asked."""
    listener = Listener(play.client())
    await listener.begin()
    return listener


async def turns(count: int) -> None:
    """Let the loop turn so often."""
    for _ in range(count):
        await asyncio.sleep(0)
