"""What was found in a list, counted, for people and for the compiled form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nfsnitch.core.listing import ListFormat
from nfsnitch.core.text import shown

MOST_QUOTED = 20
_MOST_CHARACTERS = 120


class BadLine(NamedTuple):
    """A line that could not be read."""

    line: int
    text: str
    """Its beginning, fit to be shown."""
    why: str


@dataclass(slots=True)
class Report:
    """What became of the lines of a list."""

    format: ListFormat
    lines: int = 0
    domains: int = 0
    """That can be found: no duplicates, and none that an exception takes back."""
    networks: int = 0
    exceptions: int = 0
    """Domains that the list itself says are not listed."""
    excepted: int = 0
    """Domains that these take back."""
    duplicates: int = 0
    comments: int = 0
    """And empty lines."""
    unsupported: Counter[str] = field(default_factory=Counter)
    """What a firewall cannot tell, by kind."""
    errors: int = 0
    first_errors: list[BadLine] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """How much of it can be found."""
        return self.domains + self.networks

    def error(self, number: int, text: str, why: str) -> None:
        """Count a line that cannot be read, and quote it if it is one of the first."""
        self.errors += 1
        if len(self.first_errors) < MOST_QUOTED:
            begin = text[:_MOST_CHARACTERS] + ("…" if len(text) > _MOST_CHARACTERS else "")
            self.first_errors.append(BadLine(number, shown(begin), why))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = (name for name in self.__slots__ if name != "first_errors")
        fields = {name: getattr(self, name) for name in names}
        return {**fields, "first_errors": [list(each) for each in self.first_errors]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Report:
        """Return what `as_json` has made JSON of.

        Raises:
            ValueError, TypeError, KeyError: it is something else.

        """
        counts = {name: int(content[name]) for name in _COUNTS}
        report = cls(ListFormat(content["format"]))
        for name, count in counts.items():
            setattr(report, name, count)
        report.unsupported.update({str(k): int(v) for k, v in content["unsupported"].items()})
        for line, text, why in content["first_errors"][:MOST_QUOTED]:
            report.first_errors.append(BadLine(int(line), shown_again(text), shown_again(why)))
        return report


_COUNTS = (
    *("lines", "domains", "networks", "exceptions", "excepted", "duplicates", "comments"),
    "errors",
)


def shown_again(text: str) -> str:
    """Return what was made fit to be shown before, and is so still unless somebody meddled."""
    return text if text.isprintable() else shown(text)
