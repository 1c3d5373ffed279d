"""Conditions that hold at certain times, and so change what rules say without anybody's doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nfsnitch.core.case import Case
from nfsnitch.core.instant import Instant
from nfsnitch.core.schedule import Weekly, minute_of_week, next_change_ns


class Timed(Protocol):
    """A condition that looks at the clock."""

    def next_change_ns(self, now: Instant) -> int | None:
        """Return the next moment (ns since 1970 UTC) at which it may hold or cease to; or None."""


@dataclass(frozen=True, slots=True)
class ScheduleCondition:
    """Holds at the local hours in `wanted` (or outside of them, negated)."""

    field: str
    wanted: Weekly
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether it is one of the hours that are wanted."""
        return (minute_of_week(case.now) in self.wanted) is not self.negated

    def next_change_ns(self, now: Instant) -> int | None:
        """Return when the hours begin or end next, or the zone's offset changes."""
        return next_change_ns(self.wanted, now)


@dataclass(frozen=True, slots=True)
class DeadlineCondition:
    """Holds for so long, whatever becomes of the wall clock: of a rule that is not kept."""

    field: str
    until_monotonic_ns: int

    def matches(self, case: Case) -> bool:
        """Whether the time is not over yet."""
        return case.now.monotonic_ns < self.until_monotonic_ns

    def next_change_ns(self, now: Instant) -> int | None:
        """Return when it will be over by the wall clock as it goes now."""
        left_ns = self.until_monotonic_ns - now.monotonic_ns
        return now.wall_ns + left_ns if left_ns > 0 else None


@dataclass(frozen=True, slots=True)
class ExpiryCondition:
    """Holds until a moment, and never again."""

    field: str
    until_ns: int
    """Nanoseconds since 1970 UTC."""

    def matches(self, case: Case) -> bool:
        """Whether the moment has not come yet."""
        return case.now.wall_ns < self.until_ns

    def next_change_ns(self, now: Instant) -> int | None:
        """Return the moment, while it is to come."""
        return self.until_ns if now.wall_ns < self.until_ns else None
