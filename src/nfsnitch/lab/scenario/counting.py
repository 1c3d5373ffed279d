"""How far the daemon's counters have grown since a scenario began, whichever daemons ran meanwhile.

Most counters are a process's own and begin at 0 with it. Those of the kernel go on while the rules
stay in force, over a killed daemon too, and begin anew with rules that do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Reason
from nfsnitch.core.record import Json

OF_THE_KERNEL = frozenset(
    {
        Counter.BYPASSED,
        Counter.CAUGHT,
        Counter.UNHEARD,
        Counter.QUEUE_DROPPED,
        Counter.QUEUE_USER_DROPPED,
        "judged",
    }
)
"""These are counted since the rules came in force (`adapters.losses`)."""
VERDICTS = (Counter.ACCEPTED, Counter.DROPPED, Counter.REJECTED)
_NOT_RECORDED = (
    *(Counter.REPEATED, Counter.NAMES_IN_PIECES, Counter.QUESTIONS_LOCAL, Counter.ANSWERS_SENT),
)
"""Packets with a verdict, and without a record of their own."""
_LAST_WORDS = re.compile(r"nfsnitch: stopped \(([^)]*)\)")

Counts = Mapping[str, int]


class Growth:
    """The growth of all counters since it was made."""

    def __init__(self, now: Counts) -> None:
        self._base = dict(now)
        self._before: dict[str, int] = {}
        """Growth by daemons that have ended."""

    def of(self, now: Counts) -> dict[str, int]:
        """Return how much each counter has grown, by what the daemon of now says."""
        names = {*now, *self._before}
        return {
            name: self._before.get(name, 0) + now.get(name, 0) - self._base.get(name, 0)
            for name in names
        }

    def killed(self, last: Counts) -> None:
        """Take note of a daemon that ended with its rules in force; *last* is what it said last."""
        grown = self.of(last)
        kept = {name: self._base.get(name, 0) for name in OF_THE_KERNEL}
        self._before = {name: n for name, n in grown.items() if name not in OF_THE_KERNEL}
        self._base = kept

    def stopped(self, last: Counts) -> None:
        """Take note of a daemon that took its rules along."""
        self._before = self.of(last)
        self._base = {}

    def gone(self) -> dict[str, int]:
        """Return the growth while no daemon is there to ask."""
        return dict(self._before)


def last_words(stderr: str) -> dict[str, int] | None:
    """Return the counters that a daemon told when it stopped; None if it did not."""
    told = _LAST_WORDS.findall(stderr)
    if not told:
        return None
    pairs = re.findall(r"([a-z-]+) (\d+)", told[-1])
    return {name: int(number) for name, number in pairs}


def without_verdict(counts: Counts) -> int:
    """Return how many packets the worker has taken from the queue and not given a verdict yet."""
    return counts[Counter.PACKETS] - sum(counts[name] for name in VERDICTS)


class Since(NamedTuple):
    """A moment of a daemon that was idle, or had not begun."""

    counts: Counts
    records: int

    def unrecorded(self, counts: Counts, records: Sequence[Json]) -> int:
        """Return how many packets got a verdict since then that no record tells of.

        Where packets were let out until their flow says a name, nobody can tell; that is 0.
        """
        grown = {name: number - self.counts.get(name, 0) for name, number in counts.items()}
        if grown[Counter.NAMES_AWAITED]:
            return 0
        verdicts = sum(grown[name] for name in VERDICTS)
        elsewhere: int = sum(grown[name] for name in _NOT_RECORDED)
        told = records[self.records :]
        # Flows over the limit have a record each; packets over that of a held flow have none.
        over = sum(each["reason"] == Reason.HELD_LIMIT for each in told)
        elsewhere += max(0, grown[Counter.HELD_LIMIT] - over)
        packets: int = sum(each["packets"] for each in told)
        return verdicts - elsewhere - packets
