"""The folder where compiled lists are kept: ``lists`` in the ``--state`` directory.

Each is a file of its own, named by what it was made of, and only ever replaced as a whole. Its time
of modification says when it was last known to be up to date.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.sha256 import sha256
from nfsnitch.core.listing import ListDefinition
from nfsnitch.lists.compiled import Content
from nfsnitch.lists.layout import SpoiledError

FOLDER = "lists"
"""In the ``--state`` directory."""
_SUFFIX, _NEW = ".list", ".new-"
_FORGOTTEN_S = 30 * 86_400
_LEFT_OVER_S = 3_600
_TEXT_MODE = 0o600
_JUST_BEFORE_NS = 1_000_000_000


class Key(NamedTuple):
    """What one compiled list is made of; lists of several names may share it."""

    where: str
    format: str
    sha256: str | None

    @property
    def is_url(self) -> bool:
        """Whether it comes from the network."""
        return not self.where.startswith("/")

    @property
    def file_name(self) -> str:
        """The name of its compiled form."""
        raw = json.dumps(list(self)).encode("ascii")
        digest: str = sha256(raw).hexdigest()
        return digest[:32] + _SUFFIX


def key_of(definition: ListDefinition) -> Key:
    """Return what the compiled form of a list is made of."""
    return Key(definition.where, definition.format.value, definition.sha256)


class Stamp(NamedTuple):
    """What tells whether a file is another one, or has another content."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return that of a file."""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        return cls(status.st_dev, status.st_ino, status.st_size, *times)


class Shelved(NamedTuple):
    """A compiled list, mapped."""

    content: Content
    inode: int
    checked_ns: int
    """When it was last known to be up to date, in ns since 1970."""

    def is_of(self, stamp: Stamp) -> bool:
        """Whether a local file cannot have changed since it was compiled."""
        origin = self.content.description
        latest_ns = max(stamp.modified_ns, stamp.changed_ns)
        is_older = latest_ns < origin.read_ns - _JUST_BEFORE_NS
        return is_older and stamp.size_bytes == origin.origin.size_bytes


class NewFiles(NamedTuple):
    """What a job works with."""

    text_fd: int
    out_fd: int
    out: Path
    stamp: Stamp | None
    """Of the local file that is read."""


class Shelf:
    """All compiled lists. Waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mapped(self, key: Key) -> Shelved | None:
        """Map what was compiled; None: there is none.

        Raises:
            SpoiledError: it cannot be used.
            OSError: it cannot be read.

        """
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return mapped_file(fd)
        finally:
            os.close(fd)

    def inode(self, key: Key) -> int | None:
        """Return that of the compiled form as it is now; None: there is none."""
        try:
            return self._path(key).stat().st_ino
        except OSError:
            return None

    @contextmanager
    def new_files(self, key: Key) -> Iterator[NewFiles]:
        """Open what a job needs; the new compiled form goes away unless it is `put` in its place.

        Raises:
            OSError: the list cannot be read, or nothing can be written here; the message says why.

        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text_fd, stamp = (self._spool(), None) if key.is_url else opened_text(key.where)
        try:
            out_fd, out = tempfile.mkstemp(prefix=_NEW, dir=self._folder)
            try:
                yield NewFiles(text_fd, out_fd, Path(out), stamp)
            finally:
                os.close(out_fd)
                Path(out).unlink(missing_ok=True)
        finally:
            os.close(text_fd)

    def put(self, key: Key, files: NewFiles) -> Shelved:
        """Put a new compiled form in the place of the one before, and map it.

        Raises:
            SpoiledError: it cannot be used, and stays where it is.
            OSError: it cannot be written.

        """
        shelved = mapped_file(files.out_fd)
        os.fsync(files.out_fd)
        files.out.replace(self._path(key))
        return shelved

    def touch(self, key: Key) -> None:
        """Note that the compiled form is up to date."""
        os.utime(self._path(key))

    def tidy(self, used: set[str]) -> None:
        """Remove what nobody has used for long, and what was never finished."""
        now_s = time.time()
        with suppress(OSError):
            for path in self._folder.iterdir():
                is_new = path.name.startswith(_NEW)
                if not is_new and (path.suffix != _SUFFIX or path.name in used):
                    continue
                age_s = now_s - path.stat(follow_symlinks=False).st_mtime
                if age_s > (_LEFT_OVER_S if is_new else _FORGOTTEN_S):
                    path.unlink()

    def _path(self, key: Key) -> Path:
        return self._folder / key.file_name

    def _spool(self) -> int:
        try:
            flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
            return os.open(self._folder, flags, _TEXT_MODE)
        except OSError:  # not every file system has it
            fd, path = tempfile.mkstemp(prefix=_NEW, dir=self._folder)
            Path(path).unlink()
            return fd


def stamp_of(path: str) -> Stamp | None:
    """Return that of a local file; None: it cannot be looked at."""
    try:
        return Stamp.of(Path(path).stat())
    except OSError:
        return None


def opened_text(path: str) -> tuple[int, Stamp]:
    """Open the local file of a list; the caller closes it.

    Raises:
        OSError: it cannot be read, or is no regular file.

    """
    # O_NONBLOCK: nobody is to make this wait with a pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return fd, Stamp.of(status)
    os.close(fd)
    raise OSError(f"{path} is no regular file")


def mapped_file(fd: int) -> Shelved:
    """Map a compiled form.

    Raises:
        SpoiledError: it is none.

    """
    status = os.fstat(fd)
    if status.st_size == 0:
        raise SpoiledError("it is empty")
    whole = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    return Shelved(Content(memoryview(whole)), status.st_ino, status.st_mtime_ns)
