"""Files of recorded decisions, one line of JSON each, also compressed by gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nfsnitch.lab.replay.capture_files import named, opened
from nfsnitch.lab.replay.case import BadInputError
from nfsnitch.lab.replay.fields import UnreadableError
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.records import Opened, Recorded, read_record

MOST_LINE_BYTES = 1 << 20
"""A record has some thousand bytes."""


def recorded(path: Path, notes: Notes) -> Iterator[Recorded]:
    """Yield the decisions in a file; lines that are none are taken down in *notes*.

    Raises:
        BadInputError: it cannot be opened, or not one line of it can be read.

    """
    read = unreadable = 0
    with opened(path) as file:
        for number, line in _lines(path, file, notes):
            notes.count("records")
            try:
                found = read_record(_json(line))
            except UnreadableError as problem:
                unreadable += 1
                notes.count("records that cannot be read")
                notes.problem(f"{named(path)}:{number}: {problem}")
                continue
            read += 1
            if isinstance(found, Opened):
                notes.count("records of packet sockets that were opened")
                continue
            yield found
    if unreadable and not read:
        raise BadInputError(
            f"{named(path)}: no line of it is a record, and it is no capture; "
            f"{next(notes.lines(), '')}"
        )


def _lines(path: Path, file: IO[bytes], notes: Notes) -> Iterator[tuple[int, bytes]]:
    """Yield all lines that are not empty, with their numbers; of long ones the beginning."""
    number = 0
    try:
        while line := file.readline(MOST_LINE_BYTES):
            number += 1
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MOST_LINE_BYTES)
            if line.strip():
                yield number, line
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        notes.problem(f"{named(path)}: it cannot be read behind line {number}: {error}")


def _json(line: bytes) -> object:
    if len(line) >= MOST_LINE_BYTES:
        raise UnreadableError(f"it is longer than {MOST_LINE_BYTES:,} bytes")
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise UnreadableError("it is no JSON") from None
