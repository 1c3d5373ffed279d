"""Files of other firewalls: read within bounds; results written whole, or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nfsnitch.adapters.reading import at_most
from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.options import UsageError

MAX_BYTES = 16 << 20
MAX_FILES = 50_000
MAX_ALL_BYTES = 64 << 20
"""Of all files of a folder."""
_MAX_LIST_FILES = 256
_PRIVATE = 0o600


class FileError(Exception):
    """A file that cannot be read or written; the message is for people."""


def read_text(path: Path) -> str:
    """Return what stands in the file at *path*.

    Raises:
        FileError: it cannot be read, is no regular file, no UTF-8, or too large.

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FileError(f"{_shown(path)}: it is no regular file")
            raw = at_most(file, MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise FileError(f"{_shown(path)}: {_reason(error)}") from None
    if len(raw) > MAX_BYTES:
        raise FileError(f"{_shown(path)}: it has more than {MAX_BYTES >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{_shown(path)}: it is not UTF-8") from None


def json_files(folder: Path) -> list[Path]:
    """Return the files of *folder* whose names end in .json, sorted.

    Raises:
        FileError: it cannot be listed, or has too many.

    """
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == ".json")
    except (OSError, ValueError) as error:
        raise FileError(f"{_shown(folder)}: {_reason(error)}") from None
    if len(files) > MAX_FILES:
        raise FileError(f"{_shown(folder)}: it has more than {MAX_FILES} files")
    return files


def list_files(folder: str) -> list[str] | None:
    """Return the lists in *folder*, as OpenSnitch finds them; None if it cannot be read.

    That are files with a dot in their names that do not begin with one.
    """
    try:
        found = sorted(Path(folder).absolute().iterdir())
        files = [str(each) for each in found if each.name.find(".") > 0 and each.is_file()]
    except (OSError, ValueError):
        return None
    return files if len(files) <= _MAX_LIST_FILES else None


def check_new(path: Path | None, *, force: bool) -> None:
    """Refuse to write over what is at *path* (None: nothing), unless *force* says so.

    Raises:
        UsageError: there is something.

    """
    if path is not None and not force and os.path.lexists(path):
        raise UsageError(f"{_shown(path)} is there already; --force writes over it")


def make_folder(path: Path) -> None:
    """Make the folder *path* for its owner alone, if it is not there.

    Raises:
        FileError: that did not work.

    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FileError(f"{_shown(path)}: {_reason(error)}") from None


def write_text(path: Path, text: str) -> None:
    """Put *text* into the file at *path*, all or nothing; none but its owner can read it.

    Raises:
        FileError: that did not work; what was there is there.

    """
    try:
        with _beside(path) as new:
            new.write_bytes(text.encode("utf-8"))
            new.replace(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{_shown(path)}: {_reason(error)}") from None


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Make an empty file of another name beside *path*; it is gone in the end, under that name."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    try:
        os.fchmod(fd, _PRIVATE)
        os.close(fd)
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _shown(path: Path) -> str:
    return quoted(os.fspath(path))


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
