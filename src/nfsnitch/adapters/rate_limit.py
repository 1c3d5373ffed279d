"""Bounds how often something dear is done, and how much of the time it may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RateLimit:
    """A token bucket."""

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow *burst* at once and *per_second* in the long run; *clock* is in seconds."""
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_s = clock()

    def take(self) -> bool:
        """Whether it may be done now; if so, it counts as done."""
        now_s = self._clock()
        gained = (now_s - self._filled_s) * self._per_second
        self._tokens = min(self._burst, self._tokens + gained)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def charge(self, tokens: float) -> None:
        """Count as done so many times more, though nobody was asked: what was taken cost more."""
        self._tokens -= tokens


class TimeLimit:
    """Bounds the share of the time that something dear takes, however long one piece of it is."""

    def __init__(
        self,
        share: float,
        burst_s: float,
        least_s: float,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Allow *burst_s* seconds at once, and *share* of all time (0 to 1) in the long run.

        Each piece counts as *least_s* at least, which bounds how many there are. The last one of a
        burst may be longer than what was left; what follows waits for that. What is measured is
        CPU time (*cpu_clock*): that other programs are busy makes nothing dearer.
        """
        self._least_s = least_s
        self._cpu_clock = cpu_clock
        self._pieces = RateLimit(share / least_s, burst_s / least_s, clock)

    @contextmanager
    def spending(self) -> Iterator[bool]:
        """Yield whether it may be done now; if so, the time that the block takes is charged."""
        if not self._pieces.take():
            yield False
            return
        began_s = self._cpu_clock()
        try:
            yield True
        finally:
            self._pieces.charge(max(0.0, (self._cpu_clock() - began_s) / self._least_s - 1))


def proc_limit() -> TimeLimit:
    """Return how much of the CPU time looking into /proc may take, which packets wait for."""
    return TimeLimit(0.1, 2.0, 0.005)
