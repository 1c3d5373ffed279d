"""A value that is not known, with the reason why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands where a value would stand; no condition of a rule ever matches it.

    A firewall that writes ``-1``, ``""`` or ``None`` for "could not tell" sooner or later lets a
    rule match it. This type cannot be mistaken for a value, and it says why there is none.
    """

    reason: str

    def __str__(self) -> str:
        """Return the text that people see in place of the value."""
        return f"unknown ({self.reason})"
