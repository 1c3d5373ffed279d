"""Hours of the week, by the local wall clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nfsnitch.core.instant import Instant

MINUTES_OF_DAY = 24 * 60
MINUTES_OF_WEEK = 7 * MINUTES_OF_DAY

_NS_OF_MINUTE = 60 * 10**9
_NS_OF_SECOND = 10**9
_FIRST_DAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


class Span(NamedTuple):
    """Minutes of the week from `first` up to, and without, `end`; Monday 00:00 is minute 0.

    `end` may be beyond the end of the week: then the span goes on at its beginning.
    """

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Weekly:
    """A set of minutes of the week, as the moments at which one enters or leaves it."""

    begins_inside: bool
    """Whether minute 0 is in the set."""
    changes: tuple[int, ...]
    """Minutes, ascending, that are in the set while the one before is not, or the other way."""

    def __contains__(self, minute: object) -> bool:
        """Whether *minute* (of the week, from 0) is in the set."""
        if not isinstance(minute, int) or not 0 <= minute < MINUTES_OF_WEEK:
            return False
        passed = bisect_right(self.changes, minute) - (self.changes[:1] == (0,))
        return self.begins_inside is not bool(passed % 2)

    def minutes_to_change(self, minute: int) -> int | None:
        """Return how many minutes after *minute* one is inside that was not, or the reverse."""
        if not self.changes:
            return None
        at = bisect_right(self.changes, minute)
        if at < len(self.changes):
            return self.changes[at] - minute
        return self.changes[0] + MINUTES_OF_WEEK - minute


def weekly(spans: Iterable[Span]) -> Weekly:
    """Return the set of all minutes in *spans*, which may overlap and have any order."""
    inside = bytearray(MINUTES_OF_WEEK)
    for first, end in spans:
        for begin, stop in ((first, min(end, MINUTES_OF_WEEK)), (0, end - MINUTES_OF_WEEK)):
            if stop > begin:
                inside[begin:stop] = bytes([1]) * (stop - begin)
    changes = tuple(at for at in range(MINUTES_OF_WEEK) if inside[at] != inside[at - 1])
    return Weekly(bool(inside[0]), changes)


def minute_of_week(now: Instant) -> int:
    """Return the minute of the week that the local wall clock shows."""
    days, minute = divmod(_local_minute(now), MINUTES_OF_DAY)
    return (days + _FIRST_DAY) % 7 * MINUTES_OF_DAY + minute


def next_change_ns(hours: Weekly, now: Instant) -> int | None:
    """Return the next moment (ns since 1970 UTC) at which one may enter or leave *hours*.

    May: where the zone's offset changes before, it is that moment, and one has to look again.
    """
    minutes = hours.minutes_to_change(minute_of_week(now))
    if minutes is None:
        return None
    local_ns = (_local_minute(now) + minutes) * _NS_OF_MINUTE
    change_ns = local_ns - now.zone.offset_s * _NS_OF_SECOND
    until_ns = now.zone.until_ns
    return change_ns if until_ns is None or until_ns <= now.wall_ns else min(change_ns, until_ns)


def _local_minute(now: Instant) -> int:
    """Return how many minutes of local time have passed since 1970 began there."""
    return (now.wall_ns + now.zone.offset_s * _NS_OF_SECOND) // _NS_OF_MINUTE
