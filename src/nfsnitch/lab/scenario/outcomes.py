"""How a scenario went, and what was expected and seen where it failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How it went."""

    PASSED = "passed"
    FAILED = "failed"
    """An expectation was not met, or something held that never may."""
    BROKEN = "broken"
    """A step could not be done, or the lab failed: nothing is said about the firewall."""
    SKIPPED = "skipped"
    """This machine has not what the scenario needs."""


class UnmetError(Exception):
    """An expectation was not met: what was *expected*, and what was *seen* instead."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected, self.seen = expected, seen


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that was not as it should be; all texts are fit to be shown."""

    place: str
    """``FILE:LINE:COLUMN`` of the step; the file's name alone for what holds always."""
    step: str
    """What was being done or expected, in a few words."""
    expected: str
    seen: str
    """May have several lines."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one scenario went."""

    file: str
    shows: str
    result: Result
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    why: str = ""
    """Of a skipped one."""
    folder: str = ""
    """Where the captures of a failed one are; empty: there are none."""
