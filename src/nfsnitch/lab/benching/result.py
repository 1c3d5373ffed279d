"""What came of a run, and its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nfsnitch.lab.benching.figures import Figures

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender's figures."""

    title: str
    medians: Figures
    """Over the rounds."""
    rounds: tuple[Figures, ...]
    problem: str = ""
    """Why it could not be measured; empty: it was."""


@dataclass(frozen=True, slots=True)
class Result:
    """All contenders, measured in one run on one machine."""

    machine: Mapping[str, str | int | bool]
    """See `machine.described`."""
    date: str
    rounds: int
    took_s: float
    cases: Mapping[str, Measured]
    """By name (`cases.Case`)."""

    def of(self, name: str) -> Figures:
        """Return a contender's medians; empty if it was not measured."""
        found = self.cases.get(name)
        return {} if found is None else found.medians

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Result:
        """Return what `as_json` has returned.

        Raises:
            ValueError: it is of another version, or nothing of that kind.

        """
        if told.get("schema") != SCHEMA:
            raise ValueError(f"schema {told.get('schema')!r} is not {SCHEMA}")
        cases = {
            name: Measured(each["title"], each["medians"], tuple(each["rounds"]), each["problem"])
            for name, each in told["cases"].items()
        }
        return cls(told["machine"], told["date"], told["rounds"], told["took_s"], cases)
