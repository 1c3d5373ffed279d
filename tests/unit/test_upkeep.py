"""Closed sockets are heard of, and the queue is looked at when nothing of theirs can come."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, cast

from nfsnitch.upkeep import Upkeep

if TYPE_CHECKING:
    import asyncio

    from nfsnitch.adapters.bpf.owners import OwnerStore
    from nfsnitch.adapters.nfqueue import PacketQueue

LATE_S = 0.001
"""So long after its close a packet of a socket may still come to the queue."""


class Loop:
    """An event loop whose time passes when it is told."""

    def __init__(self) -> None:
        self._now = 100.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def time(self) -> float:
        return self._now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (self._now + delay_s, next(self._numbers), call))

    def call_soon(self, call: Callable[[], None]) -> None:
        self.call_later(0, call)

    def run_until(self, until_s: float) -> None:
        while self._calls and self._calls[0][0] <= until_s:
            self._now, _, call = heapq.heappop(self._calls)
            call()
        self._now = until_s


class Owners:
    """Has heard of as many closed sockets as the test says."""

    def __init__(self) -> None:
        self.to_hear = self.heard = 0

    def tidy(self, _queue_empty_ns: int) -> bool:
        self.heard = self.to_hear
        return False


class Queue:
    """Has never been empty, as far as anybody has seen."""

    empty_ns = 0


def test_after_the_last_of_several_closed_sockets_the_queue_is_looked_at_late_enough() -> None:
    loop, owners = Loop(), Owners()
    looks: list[float] = []
    upkeep = Upkeep(
        cast("asyncio.AbstractEventLoop", loop),
        cast("OwnerStore", owners),
        cast("PacketQueue", Queue()),
        lambda: looks.append(loop.time()),
        (),
    )
    for closed_s in (100.0, 100.0019):  # the second just before the look for the first
        loop.run_until(closed_s)
        owners.to_hear += 1
        upkeep.sockets_closed()
    loop.run_until(100.5)

    assert max(looks) > 100.0019 + LATE_S
    assert len(looks) < 6
