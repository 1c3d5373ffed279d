"""The questions that are asked now, the one that is looked at, and how long it has been."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nfsnitch.protocol import Asked

_Material = tuple[object, ...]


@dataclass(slots=True)
class Waiting:
    """A question that is asked."""

    asked: Asked
    until_s: float
    """When its time is over, by the clock of whoever put it here."""


class Board:
    """All questions in the order in which they came, one of them under the cursor.

    An answer is good only if whoever gives it can have read the question: `is_ready` says whether
    the one under the cursor has stood there long enough, as it is now.
    """

    def __init__(self, guard_s: float) -> None:
        self._guard_s = guard_s
        self._waiting: dict[int, Waiting] = {}
        self._cursor: int | None = None
        self._wanted: int | None = None
        """Stood under the cursor when all were taken away."""
        self._shown: tuple[int, _Material] | None = None
        self._ready_s = 0.0
        self.selected: set[int] = set()

    def __len__(self) -> int:
        """Return how many are asked."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        """Yield them, the earliest first."""
        return iter(self._waiting.values())

    @property
    def current(self) -> Waiting | None:
        """The one under the cursor; None if nothing is asked."""
        return None if self._cursor is None else self._waiting[self._cursor]

    @property
    def place(self) -> int:
        """Where the one under the cursor stands, from 0."""
        return list(self._waiting).index(self._cursor) if self._cursor is not None else 0

    @property
    def ready_s(self) -> float:
        """From when on the one under the cursor may be answered."""
        return self._ready_s

    def is_ready(self, now_s: float) -> bool:
        """Whether the one under the cursor has stood there long enough."""
        return self._cursor is not None and now_s >= self._ready_s

    def put(self, asked: Asked, now_s: float) -> bool:
        """Take a question, or what has become of one; return whether it is a new one."""
        is_new = asked.number not in self._waiting
        self._waiting[asked.number] = Waiting(asked, now_s + asked.left_s)
        if self._cursor is None or (is_new and asked.number == self._wanted):
            self._cursor = asked.number
            self._wanted = asked.number if self._wanted == asked.number else self._wanted
        self._look(now_s)
        return is_new

    def end(self, number: int, now_s: float) -> Waiting | None:
        """Take a question away; return it if it was here."""
        ended = self._waiting.get(number)
        if ended is None:
            return None
        numbers = list(self._waiting)
        at = numbers.index(number)
        del self._waiting[number]
        self.selected.discard(number)
        if number == self._cursor:
            left = [*numbers[at + 1 :], *reversed(numbers[:at])]
            self._cursor = left[0] if left else None
        self._look(now_s)
        return ended

    def clear(self) -> None:
        """Take all away; if the one under the cursor comes back, the cursor does, too."""
        self._wanted = self._cursor
        self._waiting.clear()
        self.selected.clear()
        self._cursor = self._shown = None

    def move(self, step: int, now_s: float) -> None:
        """Move the cursor, as far as there are questions."""
        numbers = list(self._waiting)
        if self._cursor is not None:
            at = numbers.index(self._cursor) + step
            self._cursor = numbers[max(0, min(at, len(numbers) - 1))]
            self._look(now_s)

    def look_again(self, now_s: float) -> None:
        """Begin to wait anew: something has hidden the one under the cursor."""
        self._ready_s = now_s + self._guard_s

    def select(self) -> None:
        """Add the one under the cursor to the selected ones, or take it out of them."""
        if self._cursor is not None:
            self.selected ^= {self._cursor}

    def meant(self) -> list[Waiting]:
        """Return the selected ones; without any, all of the program under the cursor."""
        if self.selected:
            return [each for number, each in self._waiting.items() if number in self.selected]
        current = self.current
        if current is None:
            return []
        sender = _sender(current.asked)
        return [each for each in self if _sender(each.asked) == sender]

    def _look(self, now_s: float) -> None:
        """Begin to wait anew, if what stands under the cursor is not what stood there."""
        current = self.current
        shown = None if current is None else (current.asked.number, _material(current.asked))
        if shown != self._shown:
            self._shown, self._ready_s = shown, now_s + self._guard_s


def _material(asked: Asked) -> _Material:
    """Return what an answer depends on: all but time and number of flows."""
    return (asked.owner, asked.rivals, asked.flow, asked.who, asked.where, asked.reason, asked.rule)


def _sender(asked: Asked) -> _Material:
    owner = asked.owner
    exe = owner.get("exe")
    if isinstance(exe, str):
        return (exe, owner.get("script"), owner.get("uid"))
    return (repr(exe), owner.get("pid"), owner.get("uid"))
