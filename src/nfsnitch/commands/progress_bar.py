"""A line on a terminal that shows how far something is."""

from __future__ import annotations

import shutil
from typing import TextIO

_WIDEST = 30
_CLEAR = "\r\x1b[K"
_UNITS = {"fetching": "bytes", "reading": "bytes", "compiling": "names"}


class ProgressBar:
    """Shows progress where somebody looks; writes nothing where nobody does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._is_shown = False

    def show(self, what: str, phase: str, done: int, total: int | None) -> None:
        """Show how far it is; *total* is None where that is not known."""
        if self._is_terminal:
            columns = shutil.get_terminal_size().columns - 1
            line = progress_line(what, phase, done, total)
            self._stream.write(f"{_CLEAR}{line[:columns]}")
            self._stream.flush()
            self._is_shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._is_shown = False


def progress_line(what: str, phase: str, done: int, total: int | None) -> str:
    """Return the line: what, a bar as far as it is, and numbers."""
    unit = _UNITS.get(phase, "")
    if not total:
        return f"{what}: {phase}, {done:,} {unit}" if done else f"{what}: {phase}"
    part = min(1.0, done / total)
    filled = round(part * _WIDEST)
    bar = "█" * filled + "·" * (_WIDEST - filled)
    return f"{what}: {phase:<9} {bar} {part:4.0%} of {total:,} {unit}"
