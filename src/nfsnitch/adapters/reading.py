"""Reading files of which nobody knows how long they are."""

from __future__ import annotations

from typing import BinaryIO

_PIECE_BYTES = 65_536


def at_most(file: BinaryIO, limit: int) -> bytes:
    """Return what is left of *file*, *limit* bytes of it at most.

    To read so much at once would have so much memory set aside, however short the file is; and once
    that is given back, glibc keeps as much for itself (mallopt(3), M_MMAP_THRESHOLD).

    Raises:
        OSError: it cannot be read.

    """
    pieces: list[bytes] = []
    while limit > 0 and (piece := file.read(min(_PIECE_BYTES, limit))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
