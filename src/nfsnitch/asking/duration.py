"""For how long an answer holds, as the protocol writes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.adapters.rulefile.time_values import parse_expires
from nfsnitch.protocol.words import FOREVER, ONCE, PROCESS, RESTART, UNTIL

_FOR = re.compile(r"([1-9][0-9]{0,4})([smh])", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3_600}
_MOST_S = 86_400
_HOW = (
    f"write {ONCE}, {PROCESS}, {RESTART}, {FOREVER}, {UNTIL} and a time as in {UNTIL} "
    "2030-06-30T18:00, or 5m, 8h (a day at most)"
)


class Duration(NamedTuple):
    """How long an answer holds."""

    word: str
    """One of those of the protocol; `RESTART` with *for_s*."""
    for_s: int | None = None
    """So long from now."""
    until: str | None = None
    """The time, as a rule file has it under ``expires``."""

    @property
    def is_lasting(self) -> bool:
        """Whether the rule is kept in a file."""
        return self.word in {FOREVER, UNTIL}


def parse_duration(text: str, now_ns: int) -> Duration:
    """Return what *text* says, at *now_ns* (wall clock, ns since 1970 UTC).

    Raises:
        Refused: it says nothing that makes sense.

    """
    if text in {ONCE, PROCESS, RESTART, FOREVER}:
        return Duration(text)
    word, _, until = text.partition(" ")
    if word == UNTIL and until:
        if parse_expires(until) <= now_ns:
            raise Refused(f"{quoted(until)} is over", "write a time that is to come")
        return Duration(UNTIL, until=until)
    found = _FOR.fullmatch(text)
    if found is None:
        raise Refused(f"{quoted(text)} says not for how long", _HOW)
    seconds = int(found[1]) * _UNIT_S[found[2]]
    if seconds > _MOST_S:
        raise Refused(f"{quoted(text)} is longer than a day", _HOW)
    return Duration(RESTART, for_s=seconds)
