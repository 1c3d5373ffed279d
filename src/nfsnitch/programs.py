"""What programs are: found out for rules and records, and noted when they are let out."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters.accounts import Accounts
from nfsnitch.adapters.identities import Identities, Sources
from nfsnitch.adapters.known_programs import KnownPrograms
from nfsnitch.adapters.packages import packages
from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Verdict
from nfsnitch.core.identity import Identity
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.record import Record
from nfsnitch.late_records import LateRecords
from nfsnitch.lean import return_free_memory


class Programs:
    """Stands between the worker and those who write records."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        state: Path,
        write: Callable[[Record], None],
        write_alike: Callable[[Sequence[Alike]], None],
        told: Callable[[int, Identity], None],
        counters: collections.Counter[Counter],
    ) -> None:
        """Keep in the folder *state* what was let out; *told* hears of each ticket."""
        self._loop = loop
        self._write, self._write_alike = write, write_alike
        self._told = told
        self._counters = counters
        self._has_trimmed = False
        self._let_out_last: Process | None = None
        """It has been noted, within this second, and has not changed."""
        sources = Sources(KnownPrograms(state), packages(), Accounts())
        self._identities = Identities(sources, self._deliver, self._tell, counters)
        hand_on = self._hand_on, self._hand_on_alike
        self._late = LateRecords(*hand_on, self._identities.is_outstanding)
        self.prepare = self._identities.prepare
        """Reads what programs are looked up in, before there are packets that would wait for it."""
        self.identified = self._identities.identified
        """Returns a process with its identity, as far as that is known now."""
        self.record = self._late.add
        """Takes a record, which is written once it is known of which binary it speaks."""
        self.record_alike = self._late.add_alike
        """Takes many of them, each like one of a few."""
        self.flush = self._late.flush
        """Has all records written that wait."""

    def tick(self) -> None:
        """Do what is to be done once a second."""
        self._let_out_last = None
        self._identities.tick()
        self._late.tick()

    def close(self) -> None:
        """Keep what is to be kept."""
        self._identities.close()

    def _hand_on(self, record: Record) -> None:
        self._note_let_out(record)
        self._write(record)

    def _note_let_out(self, record: Record) -> None:
        owner = record.owner
        is_out = record.decision.verdict is Verdict.ACCEPT and not record.rivals
        if is_out and owner is not self._let_out_last and isinstance(owner, Process):
            if _is_changed(owner):
                self._counters[Counter.PROGRAMS_CHANGED] += 1
            else:
                self._let_out_last = owner
            self._identities.let_out(owner)

    def _hand_on_alike(self, likes: Collection[Record], records: Sequence[Alike]) -> None:
        if any(_is_changed(like.owner) for like in likes):  # each of these counts
            for each in records:
                self._hand_on(whole(each))
            return
        for like in likes:
            self._note_let_out(like)
        self._write_alike(records)

    def _tell(self, ticket: int, identity: Identity) -> None:
        if not self._has_trimmed:  # the first one has had the index of packages made
            self._has_trimmed = True
            self._loop.call_later(1, return_free_memory)
        self._late.identified(ticket, identity)
        self._told(ticket, identity)

    def _deliver(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call)


def _is_changed(owner: Owner) -> bool:
    return isinstance(owner, Process) and owner.identity.changed is True
