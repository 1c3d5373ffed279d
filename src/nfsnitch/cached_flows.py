"""The kernel's own answers: what the engine lets it repeat, and the records of that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from nfsnitch.adapters.bpf.verdict_cache import ADDRESS_BYTES, PROGRAMS, VerdictCache
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.core.alike import Alike
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.events import FlowCached
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import Attribution, Finding, Owner
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown
from nfsnitch.ground import Ground

_LOOK_AGAIN_S = 0.25
"""The kernel does not wake us again for so long after it did: see bpf/verdicts.h."""
_AT_ONCE, _NEW_AT_ONCE = 128, 32
"""Flows, and how many kinds of them: packets wait no longer than for these."""
_NOT_KNOWN = Unknown("the kernel had not chosen it when it decided by itself")
_NO_COOKIE = Unknown("records do not tell it")


class Recorder(NamedTuple):
    """What makes records, and takes them."""

    record_of: Callable[[FlowCached], Record]
    names_of: Callable[[Owner, bytes], Names]
    """Returns the names of a packed destination that count for who sends, as `record_of` has it."""
    write: Callable[[Collection[Record], Sequence[Alike]], None]
    """Takes records in the order in which the kernel decided, and those that they are like."""
    written: Callable[[], None]
    """Is told after some of them."""


_log = logging.getLogger(__name__)


def _not_told(*, sees: bool) -> None:
    """Take no notice: where a probe sees the queue, it alone notes whose each packet is."""


class CachedFlows:
    """Has the kernel repeat decisions, where it can."""

    def __init__(self, ground: Ground) -> None:
        """Use the maps of the eBPF programs; nothing is repeated before `begin`."""
        self._ground = ground
        self._cache = VerdictCache(ground.kept.programs)
        self._recorder: Recorder | None = None
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
        sees_queued = _not_told if self._ground.owners.sees_packets else self._cache.sees_queued
        enforcement.ask(there if problem is None else {}, problem, sees_queued)
        if enforcement.cache_problem is not None:
            _log.info("the kernel answers nothing by itself: %s", enforcement.cache_problem)
        return enforcement.cache_problem is None

    def begin(self, loop: asyncio.AbstractEventLoop, recorder: Recorder) -> None:
        """Have a record of each flow written while *loop* runs."""
        self._recorder = recorder

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
            recorder.written()

        def look_again() -> None:
            self._look_planned = False
            hear()

        loop.add_reader(self._cache, hear)

    def hear_some(self) -> bool:
        """Take some of what the kernel has told; tell whether there is more."""
        more = self._hear()
        if self._recorder is not None:
            self._recorder.written()
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
        """Take some of what the kernel has told; tell whether there may be more."""
        if self._recorder is None:
            return False
        kinds = _Kinds(self._cache, self._ground, self._recorder)
        records: list[Alike] = []
        heard = 0
        ahead_ns = kinds.ahead_ns
        known = kinds.known
        for seen_ns, sport, alike in self._cache.told(_AT_ONCE):
            if alike not in known and not kinds.learn(seen_ns, sport, alike):
                break
            heard += 1
            kind = known[alike]
            if kind is not None:
                records.append(Alike(kind[0], seen_ns + ahead_ns, sport, kind[1]))
        self._cache.taken(heard)
        if records:
            self._heard_any = True
            self._recorder.write(kinds.likes, records)
        return heard == _AT_ONCE or kinds.are_many


class _Kinds:
    """What flows that are told of at once have in common.

    It is looked at anew each time, so that nothing is said of a program that was true of it before.
    """

    def __init__(self, cache: VerdictCache, ground: Ground, recorder: Recorder) -> None:
        self._cache, self._ground, self._recorder = cache, ground, recorder
        self._now = now = ground.clock.now()
        self.ahead_ns = now.wall_ns - now.monotonic_ns
        self.known: dict[bytes, tuple[Record, bytes] | None] = {}
        """What was told → what the record is like, and where the flow goes; None: none is made."""
        self.likes: list[Record] = []
        self._elsewhere: dict[bytes, Record] = {}
        """What was told, but for where the flow goes, which has no name."""
        self.are_many = False

    def learn(self, seen_ns: int, sport: int, alike: bytes) -> bool:
        """Look at what was told; False: there is too much that is new, for this time."""
        same = alike[ADDRESS_BYTES:]
        like = self._elsewhere.get(same)
        if like is not None and isinstance(like.flow, Flow):
            daddr = alike[: len(like.flow.daddr)]
            if self._recorder.names_of(like.owner, daddr) == like.names:
                self.known[alike] = like, daddr
                return True
        self.are_many = len(self.likes) >= _NEW_AT_ONCE
        if self.are_many:
            return False
        record = self._record(seen_ns, sport, alike)
        if record is None or not isinstance(record.flow, Flow):
            self.known[alike] = None
            return True
        self.known[alike] = record, record.flow.daddr
        self.likes.append(record)
        if not record.names.names:
            self._elsewhere[same] = record
        return True

    def _record(self, seen_ns: int, sport: int, alike: bytes) -> Record | None:
        cached = self._cache.flow_told(sport, alike)
        if cached is None:
            return None
        owner = self._ground.owners.owner_of(cached.owner)
        found = Finding(owner, Attribution.PACKET_FILTER, _NO_COOKIE)
        iface = self._ground.interfaces.name_of(cached.ifindex) if cached.ifindex else _NOT_KNOWN
        when = self._now._replace(monotonic_ns=seen_ns, wall_ns=seen_ns + self.ahead_ns)
        made = (cached.decision, cached.rules)
        return self._recorder.record_of(FlowCached(when, cached.flow, found, iface, *made))
