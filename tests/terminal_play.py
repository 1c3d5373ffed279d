"""A program at a real pseudo-terminal, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import pyte

WAIT_S = 30.0
_OF_TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "TERM")
_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Makes its standard input the terminal of a session of its own."""


class Terminal:
    """The screen of a program, of so many columns and rows."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes], size: tuple[int, int]) -> None:
        self._fd, self._process = fd, process
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        """Everything that was written, controls and all."""
        self._is_open = True

    @property
    def text(self) -> str:
        """The screen as it is, in lines."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def wait(self, *texts: str, without: str | None = None) -> str:
        """Read until all these texts stand on the screen, and the other one does not."""
        deadline_s = time.monotonic() + WAIT_S
        while not all(text in self.text for text in texts) or (without and without in self.text):
            assert self._read(deadline_s - time.monotonic()), f"no {texts} on:\n{self.text}"
        return self.text

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self._screen.resize(rows, columns)
        _set_size(self._fd, columns, rows)

    def send_signal(self, number: int) -> None:
        """Send a signal to the program."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Read on until the program ends; return its exit status."""
        deadline_s = time.monotonic() + WAIT_S
        while self._is_open:
            assert self._read(deadline_s - time.monotonic()), f"it does not end:\n{self.text}"
        return self._process.wait(WAIT_S)

    def _read(self, timeout_s: float) -> bool:
        """Read once; False if nothing came in time, or nothing will come."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, timeout_s))
        if not ready or not self._is_open:
            return False
        data = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            data = os.read(self._fd, 1 << 16)
        self._is_open = bool(data)
        self.raw += data
        self._stream.feed(data)
        return True


@contextmanager
def at_terminal(
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    size: tuple[int, int] = (100, 34),
) -> Iterator[Terminal]:
    """Run Python with these arguments at a terminal; it ends with the context."""
    ours, theirs = pty.openpty()
    _set_size(theirs, *size)
    process = subprocess.Popen(
        [sys.executable, "-c", _TERMINAL, *argv],
        env={**_environment(), **(environment or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process, size)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _environment() -> dict[str, str]:
    """Return ours, without what would say more of the terminal than the terminal does."""
    ours = {name: text for name, text in os.environ.items() if name not in _OF_TERMINAL}
    return {**ours, "TERM": "xterm-256color"}


def _set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
