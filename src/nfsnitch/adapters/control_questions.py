"""Tells those who listen what is asked: always how it is by now, never more than they read.

What a client has not taken yet is kept as the numbers of questions, not as lines: a question that
changes ten times meanwhile is sent once, and one that has ended is not sent at all, nor is its end.
Of the mode and the rules, the last word is kept. So what a slow client costs is bounded by the
number of questions; one that has not heard of too many ends (`Resync`) begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    Asked,
    Asking,
    Ended,
    ModeChanged,
    Resync,
    Right,
    RulesChanged,
    encode,
)

if TYPE_CHECKING:
    from nfsnitch.adapters.control_connection import Connection

_log = logging.getLogger(__name__)

_CHANGES_DELAY_S = 0.05
"""A question that many flows join is sent so often at most."""
_AT_ONCE = 8
"""JSON is dear, and verdicts come first."""
_MOST_ENDS = 1_000


class Source(NamedTuple):
    """Where the answers come from."""

    asking: Callable[[frozenset[Right]], Asking]
    """Says to a client with these rights how things are."""
    numbers: Callable[[], list[int]]
    """The questions that are asked, the earliest first."""
    question: Callable[[int], Asked | None]
    """A question as it is now; None if it has ended."""


@dataclass(slots=True)
class _Listener:
    """What one client is to be told still."""

    dirty: dict[int, None] = field(default_factory=dict)
    """Questions to be sent, as they are by then."""
    told: set[int] = field(default_factory=set)
    """Questions it has been sent, and not the end of."""
    ends: deque[bytes] = field(default_factory=deque)
    news: dict[type[ModeChanged | RulesChanged], bytes] = field(default_factory=dict)
    """The last word on each."""
    resync: bool = False

    @property
    def wants(self) -> bool:
        """Whether there is anything to be told."""
        return bool(self.dirty or self.ends or self.news or self.resync)

    def ended(self, number: int, line: bytes) -> None:
        """Take note of a question that is asked no longer."""
        self.dirty.pop(number, None)
        if number not in self.told:
            return
        self.told.discard(number)
        self.ends.append(line)
        if len(self.ends) > _MOST_ENDS:
            self.ends.clear()
            self.told.clear()
            self.dirty.clear()
            self.resync = True


class QuestionStream:
    """The connections that are told what is asked."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: Source, count: Callable[[Counter], None]
    ) -> None:
        self._loop, self._source, self._count = loop, source, count
        self._listeners: dict[Connection, _Listener] = {}
        self._known: set[int] = set()
        """Questions that have been told to be sent at least once."""
        self._changed: dict[int, None] = {}
        self._planned = False
        self._changes_planned = False

    def __len__(self) -> int:
        """Return how many listen."""
        return len(self._listeners)

    def add(self, connection: Connection) -> None:
        """Tell *connection* all that is asked, and what comes."""
        self._listeners[connection] = _Listener(dict.fromkeys(self._source.numbers()))
        self._plan()

    def discard(self, connection: Connection) -> None:
        """Forget *connection*, if it listens."""
        self._listeners.pop(connection, None)

    def asked(self, number: int) -> None:
        """Take note of a question that is new or has changed."""
        if number not in self._known:
            self._known.add(number)
            self._to_all(number)
        elif self._listeners:
            self._changed[number] = None
            if not self._changes_planned:
                self._changes_planned = True
                self._loop.call_later(_CHANGES_DELAY_S, self._pass_on_changes)

    def ended(self, news: Ended) -> None:
        """Take note of a question that is asked no longer."""
        self._known.discard(news.number)
        self._changed.pop(news.number, None)
        line = encode(news)
        for listener in self._listeners.values():
            listener.ended(news.number, line)
        self._plan()

    def notify(self, news: ModeChanged | RulesChanged) -> None:
        """Tell everybody; who has not heard of the one before need not hear of it any more."""
        line = encode(news)
        for listener in self._listeners.values():
            listener.news[type(news)] = line
        self._plan()

    def drained(self, connection: Connection) -> None:
        """Go on with a client that has taken what it was sent."""
        listener = self._listeners.get(connection)
        if listener is not None and listener.wants:
            self._plan()

    def hand_out_all(self) -> None:
        """Send what clients take at once; no more is sent."""
        while self._hand_out():
            pass

    def _to_all(self, number: int) -> None:
        for listener in self._listeners.values():
            if not listener.resync:  # which tells all
                listener.dirty[number] = None
        self._plan()

    def _pass_on_changes(self) -> None:
        self._changes_planned = False
        changed, self._changed = self._changed, {}
        for number in changed:
            self._to_all(number)

    def _plan(self) -> None:
        if self._listeners and not self._planned:
            self._planned = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._planned = False
        if self._hand_out():
            self._plan()

    def _hand_out(self) -> bool:
        """Send a little to everybody; whether there is more that they would take."""
        lines: dict[int, bytes | None] = {}
        more = False
        for connection, listener in tuple(self._listeners.items()):
            self._tell(connection, listener, lines)
            connection.flush()
            more |= listener.wants and connection in self._listeners and connection.has_room
        return more

    def _tell(
        self, connection: Connection, listener: _Listener, lines: dict[int, bytes | None]
    ) -> None:
        if listener.resync and connection.has_room:
            listener.resync = False
            listener.dirty = dict.fromkeys(self._source.numbers())
            connection.put(encode(Resync()))
        while listener.news and connection.has_room:
            connection.put(listener.news.pop(next(iter(listener.news))))
        while listener.ends and connection.has_room:
            connection.put(listener.ends.popleft())
        for number in tuple(islice(listener.dirty, _AT_ONCE)):
            if not connection.has_room:
                return
            del listener.dirty[number]
            if number not in lines:
                lines[number] = self._line(number)
            if (line := lines[number]) is not None:
                listener.told.add(number)
                connection.put(line)

    def _line(self, number: int) -> bytes | None:
        """Return a question as a line; None if there is nothing to be sent."""
        try:
            question = self._source.question(number)
            line = None if question is None else encode(question)
        except Exception:  # noqa: BLE001  it stays unanswered, and packets go on being judged
            _log.exception("question %d cannot be told", number)
            line = b""
        if line is None or 0 < len(line) <= MAX_REPLY_BYTES:
            return line
        _log.error("question %d is not told: it has %d bytes", number, len(line))
        self._count(Counter.CONTROL_ERRORS)
        return None
