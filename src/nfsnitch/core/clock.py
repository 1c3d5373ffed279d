"""Notices that the wall clock was set, by a look at both clocks now and then."""

from __future__ import annotations

from nfsnitch.core.events import Instant

NOTICED_NS = 500_000_000
"""A change of less than half a second between two looks is a clock that is being corrected."""


class ClockWatch:
    """Compares how far both clocks have gone."""

    def __init__(self, now: Instant) -> None:
        self._last = now

    def jump_ns(self, now: Instant) -> int:
        """Return by how much the wall clock has jumped since the last look: 0 if it has not."""
        last, self._last = self._last, now
        jump_ns = (now.wall_ns - last.wall_ns) - (now.monotonic_ns - last.monotonic_ns)
        return jump_ns if abs(jump_ns) >= NOTICED_NS else 0
