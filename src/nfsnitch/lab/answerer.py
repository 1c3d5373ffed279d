"""Somebody who answers: a client of the real daemon that hears questions and says what it likes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nfsnitch.control_client import Client, ControlError
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT, World
from nfsnitch.protocol import (
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    Ended,
    QuestionsRequest,
    Reply,
    Request,
    socket_path,
)

_Kind = TypeVar("_Kind", bound=Reply)

PATIENCE_S = 20.0


class Answerer:
    """Hears on one connection and asks on another, in a `with` block."""

    def __init__(self, world: World) -> None:
        self._path = Path(socket_path(world.netns_inode(CLIENT)))
        self._stack = ExitStack()
        self._stream: Client | None = None
        self._talk: Client | None = None
        self.heard: list[Reply] = []

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._stream = self._stack.enter_context(Client(self._path))
        self.asking = self._stream.ask(QuestionsRequest(), Asking)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Go away."""
        self._stack.close()

    def hear(
        self,
        kind: type[_Kind],
        fits: Callable[[_Kind], bool] = lambda _: True,
        timeout_s: float = PATIENCE_S,
    ) -> _Kind:
        """Return the next message of a class, which has to come in time; all others are kept."""
        if self._stream is None:
            raise LabError("nobody listens yet")
        end_s = time.monotonic() + timeout_s
        while True:
            message = self._stream.receive(max(0.0, end_s - time.monotonic()))
            if message is None:
                raise LabError("the daemon is gone")
            self.heard.append(message)
            if isinstance(message, kind) and fits(message):
                return message

    def question(self, **of_flow: object) -> Asked:
        """Return the next question about such a flow."""
        return self.hear(
            Asked, lambda each: all(each.flow.get(key) == want for key, want in of_flow.items())
        )

    def question_of(self, pid: int) -> Asked:
        """Return the next question about what this process sends."""
        return self.hear(Asked, lambda each: each.owner.get("pid") == pid)

    def heard_end(self, number: int, timeout_s: float) -> Ended | None:
        """Return how a question ends, if it does so in time."""
        try:
            return self.hear(Ended, lambda each: each.number == number, timeout_s)
        except ControlError:
            return None

    def ended(self, number: int) -> Ended:
        """Return how a question ends."""
        return self.hear(Ended, lambda each: each.number == number)

    def ask(self, request: Request, kind: type[_Kind]) -> _Kind:
        """Ask the daemon and return its answer."""
        if self._talk is None:  # not before: who connects and says nothing is sent away
            self._talk = self._stack.enter_context(Client(self._path))
        return self._talk.ask(request, kind, PATIENCE_S)

    def answer(
        self,
        *numbers: int,
        action: str = "allow",
        who: str = "program",
        where: str = "address-port",
        duration: str = "once",
        rule: str | None = None,
    ) -> Answered:
        """Answer questions."""
        request = AnswerRequest(numbers, action, who, where, duration, rule)
        return self.ask(request, Answered)
