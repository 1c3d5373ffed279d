"""Deadlines, and files that are read while somebody else writes them, without polling."""

from __future__ import annotations

import ctypes
import math
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_MODIFY = 0x2
_IN_CLOSE_WRITE = 0x8
_CHUNK_BYTES = 1 << 20
PATIENCE = float(os.environ.get("NFSNITCH_LAB_PATIENCE", "1"))
"""How many times longer than usual to wait: more than 1 on a machine that is emulated."""
_EVENTS_BYTES = 1 << 16


class LabError(Exception):
    """The lab could not be built, or something in it did not do what it should."""


class TimeIsOverError(LabError):
    """What was waited for did not come in time."""


class Deadline:
    """A moment on the monotonic clock, `PATIENCE` times as far away as is asked for."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s * PATIENCE
        self._end = time.monotonic() + self.timeout_s

    def left_s(self) -> float:
        """Return the time that is left, 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def left_ms(self) -> int:
        """Return the time that is left as `poll` wants it: never short of the deadline."""
        return math.ceil(self.left_s() * 1000)


class FollowedFile:
    """A text file that another process appends lines to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._lines: list[str] = []
        self._partial = b""
        self._offset = 0

    def text(self) -> str:
        """Return all that is in the file now."""
        return self.path.read_text(encoding="utf-8", errors="surrogateescape")

    def lines(self) -> list[str]:
        """Return the whole lines that are in the file now."""
        self._read()
        return list(self._lines)

    def follow(
        self, *, timeout_s: float, ends_fd: int | None = None, start: int = 0
    ) -> Iterator[str]:
        """Yield the lines from number *start* on, the old ones at once, the new as they come.

        Ends when the time is over, or when *ends_fd* (a pidfd: nobody is left to write) has become
        readable and everything has been read.
        """
        deadline = Deadline(timeout_s)
        with _watch(self.path) as watch_fd:
            poll = select.poll()
            poll.register(watch_fd, select.POLLIN)
            if ends_fd is not None:
                poll.register(ends_fd, select.POLLIN)
            ended = False
            while True:
                self._read()
                while start < len(self._lines):
                    yield self._lines[start]
                    start += 1
                if ended or not deadline.left_ms():
                    return
                ready = {descriptor for descriptor, _ in poll.poll(deadline.left_ms())}
                if watch_fd in ready:
                    os.read(watch_fd, _EVENTS_BYTES)
                ended = ends_fd in ready

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                *whole, self._partial = (self._partial + chunk).split(b"\n")
                self._lines += [line.decode("utf-8", "surrogateescape") for line in whole]


@contextmanager
def _watch(path: Path) -> Iterator[int]:
    """Yield an inotify descriptor that becomes readable when *path* is written to."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    try:
        mask = _IN_MODIFY | _IN_CLOSE_WRITE
        if libc.inotify_add_watch(descriptor, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
        yield descriptor
    finally:
        os.close(descriptor)
