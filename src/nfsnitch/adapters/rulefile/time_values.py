"""Parsers of values that speak of time.

For what they have in common see `nfsnitch.adapters.rulefile.values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.schedule import MINUTES_OF_DAY, Span

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_AROUND_SIGN = re.compile(r"\s*([-,])\s*")
_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DATE_AND_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_A_SCHEDULE = "write days, hours or both, as in mon-fri 08:00-18:00"
_A_MOMENT = "write a date or a moment, as in 2030-12-31, 2030-12-31T18:00 or 2030-12-31T17:00Z"


def parse_schedule(text: str, known: Known) -> Iterator[Span]:
    """Yield the spans of days, hours or both: ``mon-fri 08:00-18:00``, ``sat,sun``."""
    del known
    words = _AROUND_SIGN.sub(r"\1", text.strip()).split()
    if not words or len(words) > 2:  # noqa: PLR2004
        raise Refused("it is days, hours or both", _A_SCHEDULE)
    if len(words) == 1:
        words = ["mon-sun", *words] if words[0][:1].isdigit() else [*words, "00:00-24:00"]
    days = [day for each in words[0].split(",") for day in _days(each)]
    for each in words[1].split(","):
        first, end = _hours(each)
        for day in days:
            yield Span(day * MINUTES_OF_DAY + first, day * MINUTES_OF_DAY + end)


def parse_expires(text: str) -> int:
    """Return the moment (ns since 1970 UTC) at which something ends.

    A date is the end of that day. What has no offset is local time.
    """
    return _moment_ns(text, timedelta(days=1))


def parse_moment(text: str) -> int:
    """Return a moment in ns since 1970 UTC; a date is the beginning of that day."""
    return _moment_ns(text, timedelta())


def _moment_ns(text: str, after_date: timedelta) -> int:
    is_date = _DATE.fullmatch(text) is not None
    if not is_date and _DATE_AND_TIME.fullmatch(text) is None:
        raise Refused("it is a date, or a date and a time of day", _A_MOMENT)
    try:
        moment = datetime.fromisoformat(text) + (after_date if is_date else timedelta())
        return int(moment.astimezone().timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        raise Refused("there is no such day or time", _A_MOMENT) from None


def _days(text: str) -> list[int]:
    first, dash, last = text.lower().partition("-")
    begin = _day(first)
    end = _day(last) if dash else begin
    return [(begin + at) % len(DAYS) for at in range((end - begin) % len(DAYS) + 1)]


def _day(text: str) -> int:
    if text not in DAYS:
        hint = closest(text[: len(DAYS[0])], DAYS, _A_SCHEDULE)
        raise Refused(f"{quoted(text)} is none of {', '.join(DAYS)}", hint)
    return DAYS.index(text)


def _hours(text: str) -> tuple[int, int]:
    """Return the minutes of the day at which hours begin and end; the end may be the next day's."""
    match = _HOURS.fullmatch(text)
    if match is None:
        raise Refused(f"{quoted(text)} is no time from and to", "write hours as in 08:00-18:00")
    first, end = _minute(match[1], match[2]), _minute(match[3], match[4])
    if first in {end, MINUTES_OF_DAY}:
        raise Refused(f"{quoted(text)} is no time at all", "write 00:00-24:00 for the whole day")
    return first, end if end > first else end + MINUTES_OF_DAY


def _minute(hour: str, minute: str) -> int:
    of_day = int(hour) * 60 + int(minute)
    if int(minute) >= 60 or of_day > MINUTES_OF_DAY:  # noqa: PLR2004
        why = f"{quoted(f'{hour}:{minute}')} is no time of day"
        raise Refused(why, "write 00:00 to 23:59, or 24:00 for the end of a day")
    return of_day
