"""A desk at which answers are taken, for tests: with a book, a file and an engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

from book_play import opened
from builders import arrival, flow, instant, process
from engine_play import RULES, verdicts
from nfsnitch.asking.desk import AnswerDesk, World
from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import Command
from nfsnitch.core.decision import Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import Answered, ModeSet, RulesetChanged
from nfsnitch.protocol import Answered as Reply
from nfsnitch.protocol import AnswerRequest
from nfsnitch.protocol.words import Mode

UID = 1_000


class Desk:
    """A desk, with an engine behind it that is really asked."""

    def __init__(self, path: Path) -> None:
        """Keep what lasts in the file at *path*."""
        self.path = path
        self.book = opened(path)
        self.engine = Engine(RULES, netns=1)
        self.done: list[Command] = []
        self._packets = 0
        world = World(self.engine.question, self._answered, self._rules_changed, instant)
        self.desk = AnswerDesk(self.book, world)

    def _answered(self, number: int, answer: Answer) -> None:
        self.done += self.engine.receive(Answered(instant(), number, answer))

    def _rules_changed(self) -> None:
        ruleset = RULES.with_answers(self.book.rules())
        event = RulesetChanged(instant(), ruleset, self.engine.generation + 1)
        self.done += self.engine.receive(event)

    def tries(self, exe: str = "/usr/bin/curl", dport: int = 22, pid: int = 4_711) -> int:
        """Have a program try a connection; return the packet's number."""
        self._packets += 1
        number = self._packets
        of_flow = flow(dport=dport, sport=40_000 + number)
        owner = process(exe, pid)
        event = arrival(number, of_flow=of_flow, owner=owner, sock_cookie=number)
        self.done += self.engine.receive(event)
        return number

    def silently(self, mode: Mode) -> None:
        """Ask nobody."""
        self.done += self.engine.receive(ModeSet(instant(), mode, None))

    def verdict(self, packet: int) -> Verdict | None:
        """Return what has become of a packet; None: it waits."""
        return verdicts(self.done).get(packet)

    def answers(
        self,
        *numbers: int,
        action: str = "allow",
        who: str = "program",
        where: str = "port",
        duration: str = "forever",
        rule: str | None = None,
    ) -> Reply:
        """Answer questions as a client would."""
        request = AnswerRequest(numbers, action, who, where, duration, rule)
        return asyncio.run(self.desk.answer(request, UID))

    @property
    def names(self) -> list[str]:
        """The rules that answers have made, in the order in which they decide."""
        return [rule.name for rule in self.engine.ruleset.answers]
