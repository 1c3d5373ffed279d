"""Hands records to those who watch, after the packets and a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.record import Record
from nfsnitch.core.record_line import RecordLines
from nfsnitch.protocol import encode_record

if TYPE_CHECKING:
    from nfsnitch.adapters.control_connection import Connection

_DELAY_S = 0.02
_RECORDS_AT_ONCE = 4
"""JSON is dear, and verdicts come first."""


@dataclass(slots=True)
class _Gap:
    """So many records are missing here."""

    count: int


class Watchers:
    """The connections that get every record."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_pending: int) -> None:
        """Keep at most *max_pending* records that are not JSON yet."""
        self._loop = loop
        self._max_pending = max_pending
        self._connections: dict[Connection, None] = {}
        self._pending: deque[Record | _Gap] = deque()
        self._planned = False
        self._lines = RecordLines()

    def __len__(self) -> int:
        """Return how many watch."""
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """Let *connection* watch."""
        self._connections[connection] = None

    def discard(self, connection: Connection) -> None:
        """Forget *connection*, if it watches."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._pending.clear()

    def record(self, record: Record) -> None:
        """Keep *record* for the watchers, if there are any."""
        if not self._connections:
            return
        if len(self._pending) < self._max_pending:
            self._pending.append(record)
        elif isinstance(last := self._pending[-1], _Gap):
            last.count += 1
        else:
            self._pending.append(_Gap(1))
        if not self._planned:
            self._planned = True
            self._loop.call_later(_DELAY_S, self._hand_out_some)

    def record_alike(self, records: Sequence[Alike]) -> None:
        """Keep many for the watchers, if there are any."""
        if self._connections:
            for each in records:
                self.record(whole(each))

    def hand_out_all(self) -> None:
        """Send what the watchers take at once; what they do not take is dropped."""
        while self._pending:
            self._hand_out(len(self._pending))

    def _hand_out_some(self) -> None:
        self._hand_out(_RECORDS_AT_ONCE)
        self._planned = bool(self._pending)
        if self._planned:
            self._loop.call_soon(self._hand_out_some)

    def _hand_out(self, count: int) -> None:
        for _ in range(min(count, len(self._pending))):
            self._offer(self._pending.popleft())
        for connection in tuple(self._connections):
            connection.flush()

    def _offer(self, entry: Record | _Gap) -> None:
        if isinstance(entry, _Gap):
            for connection in self._connections:
                connection.miss(entry.count)
            return
        line = encode_record(self._lines.line(entry))
        for connection in self._connections:
            connection.offer(line)
