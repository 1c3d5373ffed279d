"""The machine's clocks and its local time zone (``tzset(3)``, ``localtime(5)``)."""

from __future__ import annotations

import time
from collections.abc import Callable

from nfsnitch.core.instant import UTC, Instant, Zone

_NS = 1_000_000_000
_GOOD_FOR_NS = 60 * _NS
"""How long a zone is believed: somebody may give the machine another one meanwhile."""
_STEP_S = 7 * 86_400
_STEPS = 58
"""Summer time begins and ends a year apart at most, and lasts for weeks."""


class Clock:
    """Tells the present moment; looks at the time zone once a minute."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        """Returns the time of the monotonic clock alone."""
        self._wall_ns = wall_ns
        self._zone = UTC
        self._from_ns = 0
        self._to_ns = 0
        """The zone holds between these moments of the wall clock, which may be set back."""

    def now(self) -> Instant:
        """Return the present moment."""
        wall_ns = self._wall_ns()
        if not self._from_ns <= wall_ns < self._to_ns:
            time.tzset()
            self._zone = zone_at(wall_ns)
            until_ns = self._zone.until_ns
            self._from_ns = wall_ns
            self._to_ns = min(wall_ns + _GOOD_FOR_NS, until_ns or wall_ns + _GOOD_FOR_NS)
        return Instant(self.monotonic_ns(), wall_ns, self._zone)


def zone_at(wall_ns: int) -> Zone:
    """Return the offset of local time at a moment (ns since 1970 UTC), and when it changes next."""
    seconds = wall_ns // _NS
    offset_s = _offset_s(seconds)
    for begin in range(seconds, seconds + _STEPS * _STEP_S, _STEP_S):
        if _offset_s(begin + _STEP_S) != offset_s:
            return Zone(offset_s, _change_s(begin, begin + _STEP_S, offset_s) * _NS)
    return Zone(offset_s)


def _change_s(same: int, other: int, offset_s: int) -> int:
    """Return the first second between these two at which the offset is not *offset_s*."""
    while other - same > 1:
        middle = (same + other) // 2
        if _offset_s(middle) == offset_s:
            same = middle
        else:
            other = middle
    return other


def _offset_s(seconds: int) -> int:
    return time.localtime(seconds).tm_gmtoff
