"""What is to be said of the input besides the decisions: how much there was, and what was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

_MOST_PROBLEMS = 20


class Notes:
    """Counts, and the first problems in words; of the others only how many they are."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        """What it was → how often."""
        self.problems: list[str] = []
        """The first of them, made harmless."""
        self.unsaid = 0
        """How many more there were."""

    def count(self, what: str, number: int = 1) -> None:
        """Count something that is as it should be."""
        self.counts[what] += number

    def problem(self, text: str) -> None:
        """Take note of something that is wrong; *text* is fit for a terminal."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(text)
        else:
            self.unsaid += 1

    def lines(self) -> Iterator[str]:
        """Yield the problems as they are told."""
        yield from self.problems
        if self.unsaid:
            yield f"and {self.unsaid:,} more of such problems"
