"""How long an answer is good for: as people write it, as the daemon reads it, and in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from nfsnitch.core.text import shown
from nfsnitch.protocol import FOREVER, ONCE, PROCESS, RESTART, UNTIL

CYCLE = (ONCE, PROCESS, "5m", "15m", "60m", RESTART, FOREVER, UNTIL)
"""What a key goes through; `UNTIL` alone means that the time is still to be given."""

_WORDS = {
    ONCE: "once: what waits now, and no rule",
    PROCESS: "while this process lives",
    RESTART: "until the daemon ends",
    FOREVER: "for ever: until somebody revokes it",
    UNTIL: "until a time …",
}
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LENGTH = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_LENGTH_OF_ANSWER = re.compile(r"([1-9][0-9]{0,4})([smh])", re.ASCII)
_DAY_S = 86_400
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}", re.ASCII)
_HOW = (
    "write once, process, restart, forever, 15m or 8h (a day at most), or until and a time, as in "
    "'until 18:00' or 'until 2030-06-30T18:00'"
)


def duration(text: str, now: datetime | None = None) -> str:
    """Return what the daemon calls the time that somebody has written.

    Raises:
        ValueError: it is none; the message says how to write one.

    """
    words = text.split()
    if len(words) == 1 and words[0] in {ONCE, PROCESS, RESTART, FOREVER}:
        return words[0]
    if words[:1] == [UNTIL] and len(words) in {2, 3}:
        return f"{UNTIL} {_moment('T'.join(words[1:]), now)}"
    length = _LENGTH_OF_ANSWER.fullmatch(text.strip())
    if length and int(length[1]) * _UNITS_S[length[2]] <= _DAY_S:
        return length[0]
    raise ValueError(f"'{shown(text[:80])}' is no length of time; {_HOW}")


def seconds(text: str) -> float:
    """Return how many seconds ``90s``, ``15m``, ``8h`` or ``2d`` are.

    Raises:
        ValueError: it is no such thing.

    """
    length = _LENGTH.fullmatch(text)
    if length is None or int(length[1]) == 0:
        raise ValueError(f"'{shown(text[:80])}' is no length of time; write 90s, 15m, 8h or 2d")
    return float(int(length[1]) * _UNITS_S[length[2]])


def in_words(text: str) -> str:
    """Return what a duration of the protocol means."""
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith(f"{UNTIL} "):
        return f"until {_local(text.removeprefix(UNTIL).strip())}"
    return f"for {shown(text)}"


def _moment(text: str, now: datetime | None) -> str:
    """Return a moment in UTC: the daemon's time zone need not be that of whoever writes."""
    here = (now or datetime.now(UTC)).astimezone()
    try:
        if _TIME_OF_DAY.fullmatch(text):
            hour, minute = map(int, text.split(":"))
            moment = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
            moment += timedelta(days=moment <= here)
        else:
            # A date is the end of that day, as in a rule file.
            moment = datetime.fromisoformat(text) + timedelta(days=bool(_DATE.fullmatch(text)))
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"'{shown(text[:80])}' is no time; {_HOW}") from None
    if moment <= here:
        raise ValueError(f"{_local(moment.isoformat())} is over already")
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _local(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return shown(text)
