"""Text in pieces → numbered lines of bounded length, whatever bytes there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MOST_LINE_BYTES = 65_536
"""Longer ones are errors; lists of cosmetic filters come near."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def numbered_lines(pieces: Iterable[bytes]) -> Iterator[tuple[int, str | None]]:
    """Yield each line with its number, from 1; None in place of one that is too long.

    Lines end with LF or CRLF. Bytes that are no UTF-8 become lone surrogates.
    """
    number, partial, is_long = 0, b"", False
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for end in whole:
            number += 1
            yield number, _text(partial + end, number, is_long=is_long)
            partial, is_long = b"", False
        if len(partial) + len(rest) > MOST_LINE_BYTES:
            partial, is_long = b"", True
        elif not is_long:
            partial += rest
    if partial or is_long:
        yield number + 1, _text(partial, number + 1, is_long=is_long)


def _text(raw: bytes, number: int, *, is_long: bool) -> str | None:
    if is_long or len(raw) > MOST_LINE_BYTES:
        return None
    if number == 1:
        raw = raw.removeprefix(_BYTE_ORDER_MARK)
    return raw.decode("utf-8", "surrogateescape").strip()
