"""Moments of a capture or of records, as the engine gets them."""

from __future__ import annotations

from nfsnitch.adapters.clock import Clock
from nfsnitch.core.instant import Instant


class Moments:
    """Tells moments of the past, with the local time of this machine, as its rules would see it."""

    def __init__(self) -> None:
        self._wall_ns = self._monotonic_ns = 0
        self._clock = Clock(lambda: self._monotonic_ns, lambda: self._wall_ns)
        self.went_back = 0
        """How often a moment was before the one before it."""

    def moment(self, wall_ns: int) -> Instant:
        """Return a moment on both clocks, the monotonic one being what it was last."""
        self._wall_ns = wall_ns
        return self._clock.now()

    def monotonic_ns(self, wall_ns: int) -> int:
        """Go on to a moment; return the monotonic clock, which never goes back."""
        if wall_ns < self._monotonic_ns:
            self.went_back += 1
        self._monotonic_ns = max(self._monotonic_ns, wall_ns)
        return self._monotonic_ns

    def at(self, wall_ns: int) -> Instant:
        """Return a moment of which both clocks say the same."""
        self._wall_ns = self._monotonic_ns = wall_ns
        return self._clock.now()
