"""Packets of capture files (pcap and pcapng, also compressed by gzip), by means of scapy."""

from __future__ import annotations

import gzip
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from nfsnitch.core.text import decoded, shown
from nfsnitch.lab.replay.case import BadInputError
from nfsnitch.lab.replay.links import Inner, ip_packet, is_known
from nfsnitch.lab.replay.notes import Notes

_MAGICS = frozenset(
    map(bytes.fromhex, ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"))
)
_GZIP = b"\x1f\x8b"
_NS = 1_000_000_000
_LAST_S = 1 << 33
"""In the year 2242; what claims to be later is no time."""
_OUTBOUND = 2
"""Of the flags of an enhanced packet block (pcapng)."""
_UNREADABLE = (OSError, EOFError, ValueError, MemoryError, struct.error, zlib.error)
_MOST_LINKS = 100


class Frame(NamedTuple):
    """A captured packet."""

    wall_ns: int
    packet: bytes
    """From the IP header on."""
    iface: str | None
    is_outgoing: bool | None
    """Whether the machine that captured it sent it; None: nothing says so."""


def opened(path: Path) -> IO[bytes]:
    """Open a file, which may be compressed.

    Raises:
        BadInputError: it cannot be opened.

    """
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == _GZIP
        if is_compressed:
            return cast("IO[bytes]", gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise BadInputError(f"{named(path)}: {error.strerror or error}") from error


def is_capture(path: Path) -> bool:
    """Whether a file is a capture, by its first bytes.

    Raises:
        BadInputError: it cannot be read, or not more than once, as a pipe.

    """
    if path.exists() and not path.is_file():
        raise BadInputError(f"{named(path)}: it is no regular file, and is read more than once")
    try:
        with opened(path) as file:
            return file.read(4) in _MAGICS
    except _UNREADABLE as error:
        raise BadInputError(f"{named(path)}: {_words(error)}") from error


def frames(path: Path, notes: Notes) -> Iterator[Frame]:
    """Yield the packets of a capture; what is cut off or not known is taken down in *notes*.

    Raises:
        BadInputError: it is no capture, or scapy is not here.

    """
    raw_reader, scapy_error = _scapy()
    with _warnings() as said, opened(path) as file:
        counting = _Counting(file)
        try:
            reader = raw_reader(counting)
        except (scapy_error, *_UNREADABLE) as error:
            raise BadInputError(f"{named(path)}: {_words(error)}") from error
        with closing(reader):
            try:
                yield from _frames(path, reader, notes)
            except (scapy_error, *_UNREADABLE) as error:
                notes.problem(f"{named(path)}: it cannot be read to its end: {_words(error)}")
                return
        if said or counting.is_cut:
            why = "it is cut off, and its last packet not whole"
            why = why if counting.is_cut else shown(said[0])
            notes.problem(f"{named(path)}: {why}")


def named(path: Path) -> str:
    """Return a path as it is told."""
    return shown(os.fspath(path))


def _scapy() -> tuple[Any, type[Exception]]:
    try:
        from scapy.error import Scapy_Exception  # noqa: PLC0415  only who reads captures has it
        from scapy.utils import RawPcapReader  # noqa: PLC0415
    except ImportError as error:
        text = "scapy is needed to read captures: pip install 'nfsnitch[lab]'"
        raise BadInputError(text) from error
    return RawPcapReader, Scapy_Exception


def _frames(path: Path, reader: Any, notes: Notes) -> Iterator[Frame]:  # noqa: ANN401  scapy's
    is_nano = getattr(reader, "nano", False)
    unknown_links = set[int]()
    last_ns = 0
    for data, about in reader:
        notes.count("packets")
        link_type = getattr(about, "linktype", None)
        link_type = reader.linktype if link_type is None else link_type
        if not is_known(link_type):
            notes.count("packets of links that are not known here")
            if link_type not in unknown_links and len(unknown_links) < _MOST_LINKS:
                unknown_links.add(link_type)
                notes.problem(f"{named(path)}: link type {link_type} is not known here")
            continue
        wall_ns = _time_ns(about, is_nano=is_nano)
        if wall_ns is None:
            notes.count("packets without a time that can be")
            wall_ns = last_ns
        last_ns = wall_ns
        inner = ip_packet(link_type, data)
        if inner is None:
            notes.count("frames that are not IP")
            continue
        yield _frame(wall_ns, inner, about)


def _frame(wall_ns: int, inner: Inner, about: Any) -> Frame:  # noqa: ANN401  scapy's
    name = getattr(about, "ifname", None)
    direction = getattr(about, "direction", None)
    is_outgoing = direction == _OUTBOUND if direction else inner.is_outgoing
    iface = decoded(name) if isinstance(name, bytes) and name else None
    return Frame(wall_ns, inner.packet, iface, is_outgoing)


def _time_ns(about: Any, *, is_nano: bool) -> int | None:  # noqa: ANN401  scapy's
    if hasattr(about, "sec"):
        time_ns: int = about.sec * _NS + about.usec * (1 if is_nano else 1_000)
    elif about.tshigh is None:
        return None
    else:
        time_ns = ((about.tshigh << 32) + about.tslow) * _NS // about.tsresol
    return time_ns if time_ns < _LAST_S * _NS else None


class _Counting:
    """Hands on what a file has, and takes note where that is less than was asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_cut = False

    def read(self, size: int) -> bytes:
        """Read so many bytes, or what there is."""
        try:
            data = self._file.read(size)
        except EOFError:  # compressed, and cut off: scapy takes that for its end
            self.is_cut = True
            raise
        self.is_cut |= 0 < len(data) < size
        return data

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what scapy has to say, the first of it, instead of having it printed."""
    said: list[str] = []

    class _Taken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if not said:
                said.append(record.getMessage())
            return False

    log, taken = logging.getLogger("scapy.runtime"), _Taken()
    log.addFilter(taken)
    try:
        yield said
    finally:
        with suppress(ValueError):
            log.removeFilter(taken)


def _words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it claims to have more in it than there is memory for"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(str(error)) or type(error).__name__
