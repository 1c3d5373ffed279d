"""The kernel's own answers: what the engine lets it repeat, and the records of that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from nfsnitch.adapters.bpf.verdict_cache import PROGRAMS, VerdictCache
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.core.alike import Alike
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.events import FlowCached
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown
from nfsnitch.ground import Ground

_LOOK_AGAIN_S = 0.25
"""The kernel does not wake us again for so long after it did: see bpf/verdicts.h."""
_AT_ONCE, _NEW_AT_ONCE = 128, 32
"""Flows, and those among them that are unlike the others: packets wait no longer than for these."""
_NOT_KNOWN = Unknown("the kernel had not chosen it when it decided by itself")
_NO_COOKIE = Unknown("records do not tell it")

RecordOf = Callable[[FlowCached], Record]
Write = Callable[[Collection[Record], Sequence[Alike]], None]
"""Takes records in the order in which the kernel decided, and those that they are like."""

_log = logging.getLogger(__name__)


class CachedFlows:
    """Has the kernel repeat decisions, where it can."""

    def __init__(self, ground: Ground) -> None:
        """Use the maps of the eBPF programs; nothing is repeated before `begin`."""
        self._ground = ground
        self._cache = VerdictCache(ground.kept.programs)
        self._record_of: RecordOf | None = None
        self._write: Write = lambda _, __: None
        self._afterwards: Callable[[], None] = lambda: None
        self._heard_any = self._look_planned = False
        self._heard_s = float("-inf")
        """When there was something last, by the loop's clock."""

    def close(self) -> None:
        """Hear of nothing any more."""
        self._cache.close()

    def ask_for(self, enforcement: Enforcement) -> bool:
        """Have *enforcement* let the programs be asked; tell whether the kernel can do that."""
        filters = self._ground.kept.programs.filters
        there = {outcome: filters[name] for name, outcome in PROGRAMS.items() if name in filters}
        problem = self._cache.keep()
        enforcement.ask(there if problem is None else {}, problem)
        if enforcement.cache_problem is not None:
            _log.info("the kernel answers nothing by itself: %s", enforcement.cache_problem)
        return enforcement.cache_problem is None

    def begin(
        self,
        loop: asyncio.AbstractEventLoop,
        record_of: RecordOf,
        write: Write,
        afterwards: Callable[[], None],
    ) -> None:
        """*write* a record of each flow while *loop* runs; call *afterwards* after some of them."""
        self._record_of, self._write, self._afterwards = record_of, write, afterwards

        def hear() -> None:
            self._heard_any = False
            more = self._hear()
            if self._heard_any:
                self._heard_s = loop.time()
            if more:
                loop.call_soon(hear)
            elif not self._look_planned and loop.time() - self._heard_s < _LOOK_AGAIN_S:
                self._look_planned = True
                loop.call_later(_LOOK_AGAIN_S, look_again)
            afterwards()

        def look_again() -> None:
            self._look_planned = False
            hear()

        loop.add_reader(self._cache, hear)

    def hear_some(self) -> bool:
        """Take some of what the kernel has told; tell whether there is more."""
        more = self._hear()
        self._afterwards()
        return more

    def hear_all(self) -> None:
        """Take all that the kernel has told."""
        while self._hear():
            pass

    def rules_changed(self, ruleset: Ruleset, generation: int) -> None:
        """Void what was decided by other rules than these."""
        self._cache.begin(generation, by_cgroup=ruleset.asks_cgroup)

    def withdraw(self) -> None:
        """Void what was decided, by whatever rules."""
        self._cache.withdraw()

    def add(self, command: CacheVerdict | PassFlow) -> None:
        """Have a decision repeated."""
        self._cache.add(command)

    def _hear(self) -> bool:
        """Take some of what the kernel has told; tell whether there may be more.

        What is alike is looked at once each time, so that nothing is told of a program that was
        true of it some time ago.
        """
        if self._record_of is None:
            return False
        now = self._ground.clock.now()
        ahead_ns = now.wall_ns - now.monotonic_ns
        likes: dict[bytes, Record | None] = {}
        records: list[Alike] = []
        heard = 0
        for seen_ns, sport, alike in self._cache.told(_AT_ONCE):
            if alike in likes:
                like = likes[alike]
            elif len(likes) == _NEW_AT_ONCE:
                break
            else:
                when = now._replace(monotonic_ns=seen_ns, wall_ns=seen_ns + ahead_ns)
                like = likes[alike] = self._record(self._record_of, when, sport, alike)
            heard += 1
            if like is not None:
                records.append(Alike(like, seen_ns + ahead_ns, sport))
        self._cache.taken(heard)
        if records:
            self._heard_any = True
            self._write([like for like in likes.values() if like is not None], records)
        return heard == _AT_ONCE or len(likes) == _NEW_AT_ONCE

    def _record(
        self, record_of: RecordOf, when: Instant, sport: int, alike: bytes
    ) -> Record | None:
        cached = self._cache.flow_told(sport, alike)
        if cached is None:
            return None
        owner = self._ground.owners.owner_of(cached.owner)
        found = Finding(owner, Attribution.PACKET_FILTER, _NO_COOKIE)
        iface = self._ground.interfaces.name_of(cached.ifindex) if cached.ifindex else _NOT_KNOWN
        made = (cached.decision, cached.rules)
        return record_of(FlowCached(when, cached.flow, found, iface, *made))
