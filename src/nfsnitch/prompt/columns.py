"""Text cut to columns of a terminal.

What comes in has been through `nfsnitch.core.text.shown`: nothing in it moves the cursor.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_WIDE = frozenset("WF")
"""East Asian widths (UAX 11) that take two columns."""
_NO_WIDTH = frozenset({"Mn", "Me"})
"""Marks that join the character before them."""
_CUT = "…"


def width(text: str) -> int:
    """Return how many columns *text* takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def fitted(text: str, columns: int) -> str:
    """Return *text* in at most so many columns; what is too long ends with an ellipsis."""
    if len(text) <= columns and width(text) <= columns:
        return text
    return _beginning(text, columns - 1) + _CUT if columns > 0 else ""


def padded(text: str, columns: int) -> str:
    """Return *text* in exactly so many columns."""
    cut = fitted(text, columns)
    return cut + " " * (columns - width(cut))


def without_middle(text: str, characters: int) -> str:
    """Return *text* in at most so many characters; both its ends stay."""
    if len(text) <= characters:
        return text
    end = characters // 2
    return f"{text[: characters - end - 1]}{_CUT}{text[len(text) - end :]}"


def wrapped(text: str, columns: int) -> Iterator[str]:
    """Yield *text* in lines of so many columns, cut at spaces where there are any.

    A line is cut anyway after four times as many characters, whatever joins in one column.
    """
    left = text
    while len(left) > columns or width(left) > columns:
        line = _beginning(left[: columns * 4], columns) or left[0]
        space = line.rfind(" ", 1) if left[len(line) : len(line) + 1] != " " else -1
        line = line[:space] if space > 0 else line
        yield line
        left = left[len(line) :].lstrip(" ")
    if left or not text:
        yield left


def _beginning(text: str, columns: int) -> str:
    taken = 0
    for at, character in enumerate(text):
        taken += _character_width(character)
        if taken > columns:
            return text[:at]
    return text


def _character_width(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
