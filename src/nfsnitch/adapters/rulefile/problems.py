"""What is wrong with rule files, and where."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Literal, NamedTuple, Never

from nfsnitch.core.text import shown

MAX_PROBLEMS = 1_000
"""So many are told; the reading of a file that has more ends there."""

_MAX_QUOTED_CHARACTERS = 60
_MAX_COMPARED_CHARACTERS = 40
_MAX_COMPARED_NAMES = 200


class Position(NamedTuple):
    """A place in a rule file. Positions sort in the order of reading."""

    order: int
    """Which of the files it is: the first that was read is 0."""
    file: str
    """Name of the file, fit to be shown."""
    line: int
    """Counts from 1."""
    column: int
    """In characters; counts from 1."""

    def __str__(self) -> str:
        """Return the place as editors and compilers write it."""
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One thing that is wrong, fit to be shown."""

    position: Position
    what: str
    why: str
    instead: str

    def __str__(self) -> str:
        """Return the problem as one line: where, what, why, what to write instead."""
        return f"{self.position}: {self.what}: {self.why}; {self.instead}"


WarningCode = Literal[
    "absent-name",
    "after-catch-all",
    "allows-the-rest",
    "any-script",
    "chosen-by-program",
    "expired",
    "never-matches",
    "no-program",
    "no-such-file",
    "not-compared",
    "not-read",
    "shadowed",
    "symlink",
    "too-wide",
    "writable-program",
    "writable-rules",
]


class RuleWarning(NamedTuple):
    """One thing that may be used as it is and is likely not meant so, fit to be shown."""

    position: Position
    code: WarningCode
    """A word for its kind, for programs."""
    what: str
    why: str
    instead: str

    def __str__(self) -> str:
        """Return the warning as one line: where, what, why, what to do."""
        return f"{self.position}: warning: {self.what}: {self.why}; {self.instead}"


class RuleFileError(Exception):
    """Rule files that were refused, with everything that is wrong with them."""

    def __init__(self, problems: Iterable[Problem], text: str | None = None) -> None:
        """Keep *problems* in the order of their positions, each once; *text* says them all."""
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)) if text is None else text)


class Refused(Exception):  # noqa: N818  it is no error of the program
    """A value that cannot be taken: *why* not, and what to write *instead*."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(f"{why}; {instead}")
        self.why = why
        self.instead = instead


class Absent(Refused):
    """A name that would be right on another machine; here nothing has it."""


class Problems:
    """Collects the problems of one reading, and what it warns of."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._warnings: dict[RuleWarning, None] = {}

    @property
    def warnings(self) -> tuple[RuleWarning, ...]:
        """The warnings so far, each once, in the order of their positions."""
        return tuple(sorted(self._warnings))

    @property
    def found(self) -> tuple[Problem, ...]:
        """The problems so far, in the order in which they were found."""
        return tuple(self._found)

    @property
    def count(self) -> int:
        """How many problems there are so far."""
        return len(self._found)

    def warn(self, warning: RuleWarning) -> None:
        """Note a warning; of so many as there may be problems the rest is left out."""
        if len(self._warnings) < MAX_PROBLEMS:
            self._warnings[warning] = None

    def add(self, position: Position, what: str, why: str, instead: str) -> None:
        """Note one problem; a node that is used twice (by a YAML alias) has it once.

        Raises:
            RuleFileError: there are too many to go on.

        """
        self._found[Problem(position, what, why, instead)] = None
        if len(self._found) >= MAX_PROBLEMS:
            self._give_up(position)

    def refuse(self, position: Position, what: str, refused: Refused) -> None:
        """Note that *what* stands at *position* was refused."""
        self.add(position, what, refused.why, refused.instead)

    def check(self) -> None:
        """Raise what was found.

        Raises:
            RuleFileError: something was found.

        """
        if self._found:
            raise RuleFileError(self._found)

    def _give_up(self, position: Position) -> Never:
        last = Problem(
            position, "too many problems", f"the first {MAX_PROBLEMS} are told", "mend these first"
        )
        raise RuleFileError([*self._found, last])


def absent_name(position: Position, what: str, absent: Absent) -> RuleWarning:
    """Return the warning that *what* stands for nothing on this machine."""
    why = f"{absent.why}, and so nothing has it"
    return RuleWarning(position, "absent-name", what, why, absent.instead)


def quoted(text: str) -> str:
    """Return *text* from a rule file between quotes, fit to be shown, and not too long."""
    if len(text) > _MAX_QUOTED_CHARACTERS:
        text = text[: _MAX_QUOTED_CHARACTERS - 1] + "…"
    return f"'{shown(text)}'"


def closest(text: str, known: Collection[str], otherwise: str) -> str:
    """Return "did you mean …?" with the word of *known* that is most like *text*, or *otherwise*.

    Only so much is compared as takes no time to speak of.
    """
    if len(text) <= _MAX_COMPARED_CHARACTERS:
        words = {word.lower(): word for word in islice(known, _MAX_COMPARED_NAMES)}
        for found in difflib.get_close_matches(text.lower(), words, n=1):
            return f"did you mean {quoted(words[found])}?"
    return otherwise


def listed(words: Iterable[str]) -> str:
    """Return *words* with commas and "or" between them."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
