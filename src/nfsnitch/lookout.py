"""Waits for the next packet of a burst, awake at first where that is sooner than to be woken up.

A processor that has nothing to do sleeps, and to wake it takes longer than most packets' way to
their verdict: tens of microseconds where it is a virtual machine's. So who has just been answered
within `AWAKE_NS` looks again and again for as long before going to sleep. One look that was in
vain ends that, until a packet comes as soon once more: what comes now and then costs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

AWAKE_NS = 100_000
"""A program that makes one connection after the other makes the next one within that."""
ASLEEP_MS = 1
"""One round of the event loop takes about as long."""


class Lookout:
    """Says whether another packet comes soon."""

    def __init__(
        self,
        wait: Callable[[int], bool],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        processors: Callable[[], int] = lambda: len(os.sched_getaffinity(0)),
    ) -> None:
        """*wait* waits for a packet for so many ms at most, and says whether one is there."""
        self._wait, self._clock_ns = wait, clock_ns
        self._stays_awake = False
        # Alone, it would keep from running who is to send the packet.
        self._may_stay_awake = processors() > 1

    def another(self) -> bool:
        """Wait for another packet, `ASLEEP_MS` and `AWAKE_NS` at most; return whether one came."""
        began_ns = self._clock_ns()
        if self._stays_awake:
            while self._clock_ns() - began_ns < AWAKE_NS:
                if self._wait(0):
                    return True
            self._stays_awake = False
            return self._wait(ASLEEP_MS)
        came = self._wait(ASLEEP_MS)
        is_soon = came and self._clock_ns() - began_ns < AWAKE_NS
        self._stays_awake = is_soon and self._may_stay_awake
        return came
