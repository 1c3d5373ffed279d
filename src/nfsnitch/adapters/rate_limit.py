"""Bounds how often something dear is done."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """A token bucket."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
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
