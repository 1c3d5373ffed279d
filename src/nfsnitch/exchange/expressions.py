r"""Regular expressions read as a few plain alternatives, where that is all they are.

What people write to say "one of these" or "all below that" is made of literal characters, ``.*``,
``.``, ``^``, ``$``, ``|`` and groups; that much can be said by paths, globs and names of hosts.
Everything else is `NotPlainError`: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

MAX_ALTERNATIVES = 64
MAX_CHARACTERS = 4_096
_MAX_DEPTH = 8
_DOT_IS_ANY = "(?s)"
"""A line feed, too: nothing that is made of alternatives here makes a difference there."""
_ESCAPABLE = frozenset("\\.+*?()|[]{}^$-/_:@ ~,;=#%&!<>'\"`")
_SPECIAL = frozenset("*+?{})]")


class Wild(Enum):
    """What is not a literal character."""

    ANY = auto()
    """``.``: one character."""
    MANY = auto()
    """``.*``: any number of characters."""
    START = auto()
    """``^``."""
    END = auto()
    """``$``."""
    SEGMENT = auto()
    """``[^/]*``: any number of characters but the slash."""
    IN_SEGMENT = auto()
    """``[^/]``: one of these."""


Token = str | Wild
"""One literal character, or a wildcard."""
Branch = tuple[Token, ...]


class NotPlainError(ValueError):
    """An expression that says more than alternatives of plain text; the message says why."""


class Alternative(NamedTuple):
    """One way to match: found anywhere in a text, unless it is tied to its start or end."""

    at_start: bool
    tokens: Branch
    """Without `Wild.START` and `Wild.END`."""
    at_end: bool

    @property
    def literal(self) -> str | None:
        """The whole of the text; None if there is anything wild about it."""
        if not self.at_start or not self.at_end:
            return None
        return text_of(self.tokens)


def text_of(tokens: Branch) -> str | None:
    """Return the text that *tokens* are; None if one of them is wild."""
    literals = [token for token in tokens if isinstance(token, str)]
    return "".join(literals) if len(literals) == len(tokens) else None


def alternatives(expression: str) -> tuple[Alternative, ...]:
    """Return the alternatives that *expression* is made of, each once.

    Raises:
        NotPlainError: it is more than that.

    """
    expression = expression.removeprefix(_DOT_IS_ANY)
    if len(expression) > MAX_CHARACTERS:
        raise NotPlainError(f"it has more than {MAX_CHARACTERS} characters")
    branches, end = _union(expression, 0, 0)
    if end < len(expression):
        raise NotPlainError("a ) is never opened")
    return tuple(dict.fromkeys(_alternative(branch) for branch in branches))


def _alternative(branch: Branch) -> Alternative:
    """Return *branch* with its ties at the ends, where alone they can be."""
    start, end = 0, len(branch)
    while start < end and branch[start] is Wild.START:
        start += 1
    while start < end and branch[end - 1] is Wild.END:
        end -= 1
    tokens = branch[start:end]
    if Wild.START in tokens or Wild.END in tokens:
        raise NotPlainError("^ or $ stands in the middle of it")
    at_start, at_end = start > 0, end < len(branch)
    # .* at an end that is tied takes the tie away.
    while at_start and tokens[:1] == (Wild.MANY,):
        at_start, tokens = False, tokens[1:]
    while at_end and tokens[-1:] == (Wild.MANY,):
        at_end, tokens = False, tokens[:-1]
    while not at_start and tokens[:1] == (Wild.MANY,):
        tokens = tokens[1:]
    while not at_end and tokens[-1:] == (Wild.MANY,):
        tokens = tokens[:-1]
    return Alternative(at_start, tokens, at_end)


def _union(text: str, at: int, depth: int) -> tuple[list[Branch], int]:
    """Return the branches between ``|`` from *at* up to the end or a ``)``, and where that is."""
    if depth > _MAX_DEPTH:
        raise NotPlainError("its groups are nested too deep")
    branches: list[Branch] = []
    while True:
        found, at = _sequence(text, at, depth)
        branches += found
        _check_number(len(branches))
        if text[at : at + 1] != "|":
            return branches, at
        at += 1


def _sequence(text: str, at: int, depth: int) -> tuple[list[Branch], int]:
    branches: list[Branch] = [()]
    while at < len(text) and text[at] not in "|)":
        pieces, at = _piece(text, at, depth)
        pieces, at = _repeated(text, at, pieces)
        _check_number(len(branches) * len(pieces))
        branches = [(*branch, *piece) for branch in branches for piece in pieces]
    return branches, at


def _repeated(text: str, at: int, pieces: list[Branch]) -> tuple[list[Branch], int]:
    """Apply what stands after *pieces* and says how often they come."""
    sign = text[at : at + 1]
    if not sign or sign not in "*+?{":
        return pieces, at
    if text[at + 1 : at + 2] in {"?", "+", "*", "{"}:
        raise NotPlainError(f"it has {text[at : at + 2]} in it")
    if sign == "?":
        return [*pieces, ()], at + 1
    one = pieces[0][0] if len(pieces) == 1 and len(pieces[0]) == 1 else None
    many = {Wild.ANY: Wild.MANY, Wild.IN_SEGMENT: Wild.SEGMENT}
    if not isinstance(one, Wild) or one not in many or sign not in "*+":
        raise NotPlainError(f"{sign} repeats something else than .")
    return [(many[one],) if sign == "*" else (one, many[one])], at + 1


def _piece(text: str, at: int, depth: int) -> tuple[list[Branch], int]:
    character = text[at]
    if character == "(":
        return _group(text, at, depth)
    if character == "[":
        return _bracket(text, at)
    if character == "\\":
        return _escape(text, at)
    if character in _SPECIAL:
        raise NotPlainError(f"{character} stands where it repeats or closes nothing")
    wild = {".": Wild.ANY, "^": Wild.START, "$": Wild.END}.get(character)
    return [(character if wild is None else wild,)], at + 1


def _group(text: str, at: int, depth: int) -> tuple[list[Branch], int]:
    start = at + 1
    if text[start : start + 1] == "?":
        if text[start : start + 2] != "?:":
            raise NotPlainError("it has a group with flags or a name")
        start += 2
    branches, end = _union(text, start, depth + 1)
    if text[end : end + 1] != ")":
        raise NotPlainError("a ( is never closed")
    return branches, end + 1


def _bracket(text: str, at: int) -> tuple[list[Branch], int]:
    """Read ``[^/]``, and brackets of a few single characters, as in ``[.]``."""
    if text.startswith("[^/]", at):
        return [(Wild.IN_SEGMENT,)], at + 4
    end = text.find("]", at + 2)
    members = text[at + 1 : end] if end > 0 else ""
    if not members or members[0] == "^" or "[" in members or "\\" in members:
        raise NotPlainError("it has brackets for many characters")
    return [(each,) for each in dict.fromkeys(_members(members))], end + 1


def _members(text: str) -> Iterator[str]:
    """Yield the characters that stand between brackets, as in ``a-fx``."""
    at = 0
    while at < len(text):
        last = text[at + 2] if text[at + 1 : at + 2] == "-" and at + 2 < len(text) else text[at]
        if ord(last) - ord(text[at]) not in range(MAX_ALTERNATIVES):
            raise NotPlainError("it has brackets for many characters")
        yield from map(chr, range(ord(text[at]), ord(last) + 1))
        at += 1 if last == text[at] else 3


def _escape(text: str, at: int) -> tuple[list[Branch], int]:
    escaped = text[at + 1 : at + 2]
    if escaped not in _ESCAPABLE or not escaped:
        raise NotPlainError(f"it has \\{escaped} in it" if escaped else "it ends in a backslash")
    return [(escaped,)], at + 2


def _check_number(number: int) -> None:
    if number > MAX_ALTERNATIVES:
        raise NotPlainError(f"it is more than {MAX_ALTERNATIVES} alternatives")
