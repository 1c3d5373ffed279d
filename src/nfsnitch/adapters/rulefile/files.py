"""Rule files as text: which files there are, and what stands in them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.reading import at_most
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused
from nfsnitch.core.text import shown

_RULE_FILE = "rule file"
MAX_FILE_BYTES = 16 * 1024 * 1024

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|\r(?!\n)"
)
"""What YAML does not take (1.2, section 5.1), and the line ends that editors do not count."""
_TAKEN = bytes((*b"\t\n", *range(0x20, 0x7F)))
"""Of ASCII, what it takes anywhere."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one rule file."""

    order: int
    name: str
    text: str
    lines_before: int = 0
    """Of the file, which are not in the text."""

    def position(self, line: int, column: int) -> Position:
        """Return a place in this file; *line* and *column* of the text count from 1."""
        return Position(self.order, self.name, self.lines_before + line, column)


class Raw(NamedTuple):
    """One rule file as it is on the disk."""

    order: int
    path: Path
    content: bytes


def read_raw(paths: Iterable[Path], problems: Problems) -> list[Raw]:
    """Read all files of *paths*, and of the directories among them; note what cannot be read."""
    found = []
    for order, path in enumerate(_expanded(paths, problems)):
        content = None if path is None else _content(order, path, problems, _RULE_FILE)
        if path is not None and content is not None:
            found.append(Raw(order, path, content))
    return found


def sources_of(files: Iterable[Raw], problems: Problems) -> list[Source]:
    """Return the texts of files; note what cannot be one."""
    sources = (_decoded(*file, problems, _RULE_FILE) for file in files)
    return [source for source in sources if source is not None]


def read_sources(paths: Iterable[Path], problems: Problems) -> list[Source]:
    """Read all files of *paths*, and of the directories among them; note what cannot be read."""
    return sources_of(read_raw(paths, problems), problems)


def read_source(path: Path, problems: Problems, what: str) -> Source | None:
    """Read one file, called *what* in messages; None, and a note of it, if it cannot be read."""
    raw = _content(0, path, problems, what)
    return None if raw is None else _decoded(0, path, raw, problems, what)


def ignored_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield what is in the directories among *paths* and is not read as a rule file."""
    for path in paths:
        if _is_directory(path):
            with suppress(OSError):  # the reading of the rules says what is wrong
                yield from sorted(each for each in path.iterdir() if not _is_rule_file(each))


def _expanded(paths: Iterable[Path], problems: Problems) -> list[Path | None]:
    """Return the files, with None in the place of a directory that was refused."""
    files: list[Path | None] = []
    for path in paths:
        try:
            files += _files_of(path) if _is_directory(path) else [path]
        except Refused as refused:
            problems.refuse(_start(len(files), path), "directory of rules", refused)
            files.append(None)
    return files


def _files_of(directory: Path) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise _unreadable(error) from None
    files = [path for path in entries if _is_rule_file(path)]
    if not files:
        raise Refused("no file in it ends in .yaml", "put one there or name another directory")
    return files


def _is_rule_file(path: Path) -> bool:
    """Whether a file of a directory is meant to be read, by its name.

    Names with a leading dot are what editors leave. Directories in it are not read: as with other
    directories of this kind, their order among the files would be anybody's guess.
    """
    return path.suffix == ".yaml" and path.name[0] != "." and not _is_directory(path)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # reading it as a file will say what is wrong


def _content(order: int, path: Path, problems: Problems, what: str) -> bytes | None:
    try:
        return _bytes_of(path)
    except Refused as refused:
        problems.refuse(_start(order, path), what, refused)
        return None


def _bytes_of(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK the opening of a named pipe would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused("it is no regular file", "write the rules to a file")
            raw = at_most(file, MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise _unreadable(error) from None
    if len(raw) > MAX_FILE_BYTES:
        raise Refused(
            f"it has more than {MAX_FILE_BYTES >> 20} MiB", "split it or name groups of addresses"
        )
    return raw


def _decoded(order: int, path: Path, raw: bytes, problems: Problems, what: str) -> Source | None:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        position = _start(order, path)._replace(line=line, column=column)
        why = f"byte {raw[error.start]:02x} is not UTF-8"
        problems.add(position, what, why, "save the file as UTF-8")
        return None
    source = Source(order, shown(os.fspath(path)), text)
    return None if note_unprintable(source, problems) else source


def note_unprintable(source: Source, problems: Problems) -> bool:
    """Note each character that hides what the text says; whether there is any."""
    if source.text.isascii() and not source.text.encode().translate(None, _TAKEN):
        return False  # as of most, and many times as fast
    line, line_start, at = 1, 0, 0
    found = False
    for match in _UNPRINTABLE.finditer(source.text):
        found = True
        line += source.text.count("\n", at, match.start())
        line_start = max(line_start, source.text.rfind("\n", at, match.start()) + 1)
        at = match.start()
        position = source.position(line, at - line_start + 1)
        what = f"character U+{ord(match[0]):04X}"
        problems.add(position, what, "control characters hide what a rule says", "remove it")
    return found


def _start(order: int, path: Path) -> Position:
    return Position(order, shown(os.fspath(path)), 1, 1)


def _unreadable(error: OSError | ValueError) -> Refused:
    reason = error.strerror if isinstance(error, OSError) else None
    return Refused(f"it cannot be read ({reason or error})", "check its name and its permissions")
