"""Records that wait a little until it is known which binary their program is.

The decision has been made and carried out. Records stay in the order of the decisions, and so those
that come after one that waits wait with it: for `PATIENCE_S` and a second at most.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.awaiting import identified_owner, tickets
from nfsnitch.core.identity import Identity
from nfsnitch.core.owner import Finding, Process
from nfsnitch.core.record import Record
from nfsnitch.core.unknown import Unknown

PATIENCE_S = 2.0
MOST_WAITING = 1_024
_NO_COOKIE = Unknown("records do not tell it")


class LateRecords:
    """Hands records on, each once, in the order in which they came."""

    def __init__(
        self,
        write: Callable[[Record], None],
        write_alike: Callable[[Collection[Record], Sequence[Alike]], None],
        is_outstanding: Callable[[int], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hand on to *write*; *is_outstanding* says whether a ticket is still to be told.

        To *write_alike* go those that nobody has to wait for, many at a time.
        """
        self._write, self._write_alike = write, write_alike
        self._is_outstanding = is_outstanding
        self._clock_s = clock_s
        self._waiting: deque[tuple[float, Record]] = deque()

    def add(self, record: Record) -> None:
        """Take a record."""
        if not self._waiting and not self._waits(record):
            self._write(record)
            return
        self._waiting.append((self._clock_s(), record))
        if len(self._waiting) > MOST_WAITING:
            self._write(self._waiting.popleft()[1])
            self._hand_on()

    def add_alike(self, likes: Collection[Record], records: Sequence[Alike]) -> None:
        """Take records that are each like one of *likes*."""
        if not self._waiting and not any(map(self._waits, likes)):
            self._write_alike(likes, records)
            return
        for each in records:
            self.add(whole(each))

    def identified(self, ticket: int, identity: Identity) -> None:
        """Put in what was pending under *ticket*."""
        for at, (since_s, record) in enumerate(self._waiting):
            if ticket in tickets(_finding(record)):
                owner = identified_owner(record.owner, ticket, identity)
                rivals = tuple(identified_owner(each, ticket, identity) for each in record.rivals)
                self._waiting[at] = since_s, record._replace(owner=owner, rivals=rivals)
        self._hand_on()

    def tick(self) -> None:
        """Let go of what has waited for too long."""
        until_s = self._clock_s() - PATIENCE_S
        while self._waiting and self._waiting[0][0] <= until_s:
            self._write(self._waiting.popleft()[1])
        self._hand_on()

    def flush(self) -> None:
        """Hand on everything as it is."""
        while self._waiting:
            self._write(self._waiting.popleft()[1])

    def _hand_on(self) -> None:
        while self._waiting and not self._waits(self._waiting[0][1]):
            self._write(self._waiting.popleft()[1])

    def _waits(self, record: Record) -> bool:
        owner = record.owner
        if not record.rivals and isinstance(owner, Process) and owner.identity.ticket is None:
            return False  # as nearly all of them
        return any(map(self._is_outstanding, tickets(_finding(record))))


def _finding(record: Record) -> Finding:
    return Finding(record.owner, record.attribution, _NO_COOKIE, record.rivals)
