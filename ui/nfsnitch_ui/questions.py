"""The questions that wait, as the daemon has told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from PyQt6.QtCore import QObject, pyqtSignal

from nfsnitch.protocol import (
    MOST_ANSWERED,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    Ended,
    ModeChanged,
    Refused,
    Reply,
    Resync,
)
from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.i18n import _
from nfsnitch_ui.text import shown
from nfsnitch_ui.timers import later
from nfsnitch_ui.words import ending

_STALE_MS = 500
"""After a resync: what the daemon has not told again for so long is gone."""


@dataclass(slots=True)
class Waiting:
    """A question that waits."""

    asked: Asked
    deadline_s: float
    """On this program's clock."""
    is_sent: bool = False
    """An answer is on its way."""


class Questions(QObject):
    """All questions that wait, and the mode; the one place that knows them."""

    added = pyqtSignal(int)
    updated = pyqtSignal(int)
    removed = pyqtSignal(int)
    cleared = pyqtSignal()
    mode_changed = pyqtSignal()
    said = pyqtSignal(str)
    """News: how a question has ended."""
    failed = pyqtSignal(str)
    """A problem with an answer."""

    def __init__(
        self,
        connection: Connection,
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.clock = clock
        self.timeout_s, self.unanswered = 30.0, ""
        self.mode, self.mode_ends_s = "", None
        self._waiting: dict[int, Waiting] = {}
        self._endings: dict[int, str] = {}
        """Ended while our answer was on its way: what is to be told if that was not the reason."""
        self._stale: set[int] = set()
        self._sweep = later(self, _STALE_MS, self._drop_stale)
        self._connection = connection
        connection.arrived.connect(self._on_arrived)
        connection.changed.connect(self._on_connection)

    mode: str
    mode_ends_s: float | None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def __contains__(self, number: object) -> bool:
        """Whether the question waits."""
        return number in self._waiting

    def get(self, number: int) -> Waiting | None:
        """Return a question, if it waits."""
        return self._waiting.get(number)

    def numbers(self) -> list[int]:
        """Return the numbers of all that wait, the earliest first."""
        return list(self._waiting)

    def left_s(self, number: int) -> float:
        """Return for how long a question is still asked."""
        waiting = self._waiting.get(number)
        return 0.0 if waiting is None else max(0.0, waiting.deadline_s - self.clock())

    def mode_left_s(self) -> float | None:
        """Return until when the mode holds; None: until somebody sets another."""
        return None if self.mode_ends_s is None else max(0.0, self.mode_ends_s - self.clock())

    def of_same_program(self, number: int) -> list[int]:
        """Return all questions of the program, and the user, that one is of."""
        waiting = self._waiting.get(number)
        if waiting is None:
            return []
        key = _program_of(waiting.asked)
        return [each for each, it in self._waiting.items() if _program_of(it.asked) == key]

    def answer(self, request: AnswerRequest) -> None:
        """Send an answer; what becomes of it comes back by the signals."""
        for start in range(0, len(request.questions), MOST_ANSWERED):
            numbers = request.questions[start : start + MOST_ANSWERED]
            for number in numbers:
                self._set_sent(number, is_sent=True)
            self._connection.ask(
                AnswerRequest(
                    numbers,
                    request.action,
                    request.who,
                    request.where,
                    request.duration,
                    request.rule,
                ),
                partial(self._on_answered, numbers),
            )

    def _on_answered(self, numbers: tuple[int, ...], reply: Reply | None) -> None:
        endings = [self._endings.pop(each, "") for each in numbers]
        if isinstance(reply, Answered):
            late = set(numbers) - set(reply.taken)
            self._drop(numbers)
            for number, text in zip(numbers, endings, strict=True):
                if number in late:
                    self.said.emit(text or _("That question had ended before."))
            if reply.problem is not None:
                text = _("The rule holds only until the firewall restarts: {problem}")
                self.failed.emit(text.format(problem=shown(reply.problem)))
            return
        for number, text in zip(numbers, endings, strict=True):
            self._set_sent(number, is_sent=False)
            if text:
                self.said.emit(text)
        if isinstance(reply, Refused):
            text = _("The answer was not taken: {why}").format(why=shown(reply.text))
        else:
            text = _("The connection was lost; the answer may not have arrived.")
        self.failed.emit(text)

    def _on_connection(self) -> None:
        if self._connection.link is not Link.ON:
            self._waiting.clear()
            self._endings.clear()
            self._stale.clear()
            self.cleared.emit()
        elif self._connection.asking is not None:
            self._on_asking(self._connection.asking)

    def _on_asking(self, asking: Asking) -> None:
        self.timeout_s, self.unanswered = asking.timeout_s, asking.unanswered
        self._set_mode(asking.mode, asking.mode_left_s)

    def _on_arrived(self, reply: Reply) -> None:
        if isinstance(reply, Asked):
            self._on_asked(reply)
        elif isinstance(reply, Ended):
            self._on_ended(reply)
        elif isinstance(reply, Resync):
            self._stale = set(self._waiting)
            self._sweep.start()
        elif isinstance(reply, ModeChanged):
            self._set_mode(reply.mode, reply.left_s)

    def _on_asked(self, asked: Asked) -> None:
        deadline_s = self.clock() + asked.left_s
        self._stale.discard(asked.number)
        if self._stale:
            self._sweep.start()
        known = self._waiting.get(asked.number)
        if known is None:
            self._waiting[asked.number] = Waiting(asked, deadline_s)
            self.added.emit(asked.number)
        else:
            known.asked, known.deadline_s = asked, deadline_s
            self.updated.emit(asked.number)

    def _on_ended(self, ended: Ended) -> None:
        waiting = self._waiting.get(ended.number)
        if waiting is None:
            return
        text = ending(waiting.asked, ended)
        if waiting.is_sent:
            self._endings[ended.number] = text
        else:
            self.said.emit(text)
        self._remove(ended.number)

    def _set_mode(self, mode: str, left_s: float | None) -> None:
        self.mode = mode
        self.mode_ends_s = None if left_s is None else self.clock() + left_s
        self.mode_changed.emit()

    def _set_sent(self, number: int, *, is_sent: bool) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.is_sent = is_sent
            self.updated.emit(number)

    def _drop_stale(self) -> None:
        self._drop(self._stale)
        self._stale = set()

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in list(numbers):
            self._remove(number)

    def _remove(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None:
            self.removed.emit(number)


def _program_of(asked: Asked) -> tuple[object, ...]:
    """Return what makes two questions be of one program, of one user."""
    owner = asked.owner
    return tuple(str(owner.get(key)) for key in ("owner", "exe", "script", "uid"))
