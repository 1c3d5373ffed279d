"""Tables that fit the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from nfsnitch.prompt.columns import fitted, padded, width

_GAP = "  "
_NARROWEST = 8
"""A column is cut no shorter than that."""


def table_columns() -> int | None:
    """Return how wide a table may be; None if whatever reads it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None
) -> Iterator[str]:
    """Yield the lines of a table; what does not fit is cut, the widest column first."""
    lines = [headings, *rows]
    widths = [max(width(line[at]) for line in lines) for at in range(len(headings))]
    if columns is not None:
        _cut(widths, columns - len(_GAP) * (len(widths) - 1))
    for line in lines:
        cells = [padded(cell, most) for cell, most in zip(line, widths, strict=True)]
        text = _GAP.join(cells).rstrip()
        yield text if columns is None else fitted(text, columns)


def _cut(widths: list[int], columns: int) -> None:
    while sum(widths) > columns and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        others = sum(widths) - widths[widest]
        second = max((each for at, each in enumerate(widths) if at != widest), default=0)
        least = max(_NARROWEST, columns - others, min(second, widths[widest] - 1))
        widths[widest] = min(least, widths[widest] - 1)
