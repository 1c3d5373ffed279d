"""The compiled form of a list as bytes: a header, a description in JSON, sections.

    magic, version, sizes, checksum     32 bytes
    description                         what it was made of; where each section lies
    sections                            each at a multiple of 8 bytes

The checksum is over all that comes behind the header. It finds what a disk or a full file system
has spoiled; the file is kept where only root may write.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from nfsnitch.lists.report import Report

VERSION = 1
"""Another one is compiled anew."""
TRIE, LINES = "trie", "lines"
"""Sections of the names: the trie, and the line of each."""
FLAGGED = "flagged"
"""A section that is there if a name has flags; see `gathering`."""
IPV4, IPV6 = 4, 6
LOW_BITS = 64
LOW = (1 << LOW_BITS) - 1
"""IPv6 addresses lie in halves, each an integer that is mapped."""
HEADER = Struct("<8sIIQI4x")
_MAGIC = b"nfslist\0"
_ALIGNED = 8
_MOST_DESCRIPTION_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20


class SpoiledError(Exception):
    """What was compiled cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a compiled list was made of."""

    sha256: str
    """Of its text."""
    size_bytes: int
    etag: str | None = None
    """What the server called this version of it (RFC 9110, 8.8.3)."""
    last_modified: str | None = None
    """What the server said of its age, word for word."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a compiled list."""

    origin: Origin
    report: Report
    read_ns: int
    """When somebody began to read the text, in ns since 1970."""


Sections = Mapping[str, bytes]


def written(description: Description, sections: Sections) -> Iterator[bytes]:
    """Yield all bytes of the compiled form."""
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for name, content in sections.items():
        places[name] = (at, len(content))
        at += len(content) + _padding(len(content))
    meta = json.dumps(_as_json(description, places)).encode("ascii")
    meta += b" " * _padding(len(meta))
    body = [piece for content in sections.values() for piece in _padded(content)]
    check = zlib.crc32(meta)
    for piece in body:
        check = zlib.crc32(piece, check)
    yield HEADER.pack(_MAGIC, VERSION, len(meta), at, check)
    yield meta
    yield from body


def read(whole: memoryview) -> tuple[Description, dict[str, memoryview]]:
    """Return what the bytes of a compiled list hold; the sections are parts of *whole*.

    Raises:
        SpoiledError: it is no compiled list, of another version, cut off or changed.

    """
    if len(whole) < HEADER.size:
        raise SpoiledError("it is cut off")
    magic, version, meta_bytes, body_bytes, check = HEADER.unpack(whole[: HEADER.size])
    if magic != _MAGIC or version != VERSION:
        raise SpoiledError("it is no compiled list of this version")
    begin = HEADER.size + meta_bytes
    if meta_bytes > _MOST_DESCRIPTION_BYTES or begin + body_bytes != len(whole):
        raise SpoiledError("it is cut off, or too long")
    if _checksum(whole[HEADER.size :]) != check:
        raise SpoiledError("its checksum is wrong")
    try:
        content = json.loads(bytes(whole[HEADER.size : begin]))
        sections = dict(_sections(whole[begin:], content["sections"]))
        return _description(content), sections
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise SpoiledError(f"its description cannot be read ({type(problem).__name__})") from None


def _as_json(description: Description, places: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    origin = description.origin
    return {
        "byteorder": sys.byteorder,
        "sha256": origin.sha256,
        "size_bytes": origin.size_bytes,
        "etag": origin.etag,
        "last_modified": origin.last_modified,
        "read_ns": description.read_ns,
        "report": description.report.as_json(),
        "sections": places,
    }


def _description(content: Mapping[str, Any]) -> Description:
    if content["byteorder"] != sys.byteorder:
        raise ValueError
    texts = [content[name] for name in ("etag", "last_modified")]
    if not all(each is None or isinstance(each, str) for each in texts):
        raise TypeError
    origin = Origin(str(content["sha256"]), int(content["size_bytes"]), *texts)
    report = Report.from_json(content["report"])
    return Description(origin, report, int(content["read_ns"]))


def _sections(body: memoryview, places: Mapping[str, Any]) -> Iterator[tuple[str, memoryview]]:
    for name, (first, size) in places.items():
        if not 0 <= first <= first + size <= len(body):
            raise ValueError
        yield name, body[first : first + size]


def _checksum(content: memoryview) -> int:
    check = 0
    for at in range(0, len(content), _PIECE_BYTES):  # pages are read as they are needed
        check = zlib.crc32(content[at : at + _PIECE_BYTES], check)
    return check


def _padding(size: int) -> int:
    return -size % _ALIGNED


def _padded(content: bytes) -> Iterable[bytes]:
    return (content, bytes(_padding(len(content))))
