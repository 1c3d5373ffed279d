"""The kernel's own answers: what the engine lets it repeat, and the records of that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nfsnitch.adapters.bpf.verdict_cache import PROGRAMS, CachedFlow, VerdictCache
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.events import FlowCached
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown
from nfsnitch.ground import Ground

_LOOK_AGAIN_S = 0.25
"""The kernel does not wake us again for so long after it did: see bpf/verdicts.h."""
_NOT_KNOWN = Unknown("the kernel had not chosen it when it decided by itself")

_log = logging.getLogger(__name__)


class CachedFlows:
    """Has the kernel repeat decisions, where it can."""

    def __init__(self, ground: Ground) -> None:
        """Use the maps of the eBPF programs; nothing is repeated before `begin`."""
        self._ground = ground
        self._cache = VerdictCache(ground.kept.programs, self._heard)
        self._decided: Callable[[FlowCached], None] = lambda _: None
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
        decided: Callable[[FlowCached], None],
        afterwards: Callable[[], None],
    ) -> None:
        """Tell *decided* of each flow while *loop* runs; call *afterwards* after some of them."""
        self._decided, self._afterwards = decided, afterwards

        def hear() -> None:
            self._heard_any = False
            more = self._cache.consume()
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
        more = self._cache.consume()
        self._afterwards()
        return more

    def hear_all(self) -> None:
        """Take all that the kernel has told."""
        while self._cache.consume():
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

    def _heard(self, cached: CachedFlow) -> None:
        self._heard_any = True
        found = Finding(
            self._ground.owners.owner_of(cached.owner),
            Attribution.PACKET_FILTER,
            cached.sock_cookie,
        )
        iface = self._ground.interfaces.name_of(cached.ifindex) if cached.ifindex else _NOT_KNOWN
        made = (cached.decision, cached.rules)
        self._decided(FlowCached(self._when(cached.seen_ns), cached.flow, found, iface, *made))

    def _when(self, seen_ns: int) -> Instant:
        now = self._ground.clock.now()
        return now._replace(
            monotonic_ns=seen_ns, wall_ns=now.wall_ns - (now.monotonic_ns - seen_ns)
        )
