"""What became of each rule on its way from one firewall's language to another's."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.text import counted, shown

MAX_REMARKS = 10_000
"""So many are told; the rest is counted."""


class Kind(StrEnum):
    """How bad it is; the values are what people read."""

    LEFT_OUT = "left out"
    """It is not there at all."""
    IN_PART = "in part"
    """It is there, and matches less than the original."""
    CHANGED = "changed"
    """It is there, and says so in another way: somebody may want to know."""


class Remark(NamedTuple):
    """One thing to know, fit to be shown."""

    kind: Kind
    file: str
    rule: str | None
    """None: it is about the file."""
    why: str

    def __str__(self) -> str:
        """Return it as one line: where, which rule, what became of it, why."""
        rule = "" if self.rule is None else f"rule {quoted(self.rule)}: "
        return f"{shown(self.file)}: {rule}{self.kind}: {self.why}"


class ImportFailedError(Exception):
    """Nothing could be imported; the message is for people."""


class Report:
    """Collects what is to be told of one import or export."""

    def __init__(self) -> None:
        self._remarks: dict[Remark, None] = {}
        self.untold = 0
        """Remarks beyond those that are kept."""
        self._unsaid = 0

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """All that are kept, each once, in the order in which they came up."""
        return tuple(self._remarks)

    @property
    def unsaid(self) -> int:
        """How many of them tell of something that could not be said, wholly or in part."""
        return self._unsaid

    def left_out(self, file: str, rule: str | None, why: str) -> None:
        """Note what is not there."""
        self._add(Remark(Kind.LEFT_OUT, file, rule, why))

    def in_part(self, file: str, rule: str | None, why: str) -> None:
        """Note what matches less than the original."""
        self._add(Remark(Kind.IN_PART, file, rule, why))

    def changed(self, file: str, rule: str | None, why: str) -> None:
        """Note what is said in another way."""
        self._add(Remark(Kind.CHANGED, file, rule, why))

    def _add(self, remark: Remark) -> None:
        if remark in self._remarks:
            return
        self._unsaid += remark.kind is not Kind.CHANGED
        if len(self._remarks) < MAX_REMARKS:
            self._remarks[remark] = None
        else:
            self.untold += 1

    def lines(self, rules: int, done: str) -> list[str]:
        """Return all of it for people, the sum last: how many *rules* were *done* ("imported")."""
        lines = [str(remark) for remark in self._remarks]
        if self.untold:
            lines.append(f"and {counted(self.untold, 'remark')} more of this kind")
        kinds = [remark.kind for remark in self._remarks]
        sums = [f"{kinds.count(kind)} {kind}" for kind in Kind if kind in kinds]
        return [*lines, ", ".join([f"{counted(rules, 'rule')} {done}", *sums])]
