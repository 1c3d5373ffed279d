"""A list's text → all that it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice

from nfsnitch.core.listing import ListFormat
from nfsnitch.lists.formats import READERS, format_of
from nfsnitch.lists.gathering import MOST_ENTRIES, Gathered, Gathering
from nfsnitch.lists.lines import MOST_LINE_BYTES, numbered_lines
from nfsnitch.lists.report import Report

_LOOKED_AT = 1_000
"""So many lines tell the format."""
_EVERY_LINES = 8_192


def read_list(
    pieces: Iterable[bytes],
    wanted: ListFormat,
    progress: Callable[[int], None] | None = None,
    most: int = MOST_ENTRIES,
) -> tuple[Gathered, Report]:
    """Read the text that comes in *pieces*; *progress* is told how many lines have been read.

    Raises:
        TooManyError: it has more than *most* entries.

    """
    numbered = numbered_lines(pieces)
    first = list(islice(numbered, _LOOKED_AT))
    chosen = wanted
    if wanted is ListFormat.AUTO:
        chosen = format_of(line for _, line in first if line)
    report = Report(chosen)
    gathering = Gathering(report, most)
    reader = READERS[chosen]
    for number, line in chain(first, numbered):
        report.lines = number
        if line:
            gathering.read(line, number, reader)
        elif line is None:
            report.error(number, "", f"the line is longer than {MOST_LINE_BYTES} bytes")
        else:
            report.comments += 1
        if progress is not None and number % _EVERY_LINES == 0:
            progress(number)
    return gathering.gathered(), report
