"""Moments, as events bring them: core has no clock."""

from __future__ import annotations

from typing import NamedTuple


class Zone(NamedTuple):
    """How far the local wall clock is ahead of UTC, and for how long that holds."""

    offset_s: int
    """Seconds to add to UTC; negative west of Greenwich."""
    until_ns: int | None = None
    """Nanoseconds since 1970 UTC at which the offset may change (summer time); None: it is not
    known to change."""


UTC = Zone(0)


class Instant(NamedTuple):
    """One moment on both clocks."""

    monotonic_ns: int
    """For durations and deadlines."""
    wall_ns: int
    """Nanoseconds since 1970 UTC, for people and records."""
    zone: Zone = UTC
    """What makes local time of it, for rules that hold at certain hours."""
