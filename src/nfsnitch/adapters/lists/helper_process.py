"""The daemon's side of the process that fetches and compiles a list (`helper`)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nfsnitch
from nfsnitch.adapters.lists.messages import (
    MOST_MESSAGE_BYTES,
    Done,
    Failed,
    Job,
    Message,
    Progress,
    decoded,
)

COMPILE_S = 300.0
"""So long reading and compiling may take, beside fetching."""
_MODULE = "nfsnitch.adapters.lists.helper"
_PASSED_ON = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
_READ_BYTES = 1 << 16
_END_S = 2.0


def started(job: Job) -> subprocess.Popen[bytes]:
    """Start the process for a job; the descriptors that this names are inherited.

    Raises:
        OSError: it cannot be started.

    """
    process = subprocess.Popen(
        # -P: nothing in the working directory is run
        [sys.executable, "-P", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(job.text_fd, job.out_fd),
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.write(job.encoded())
            process.stdin.close()
    return process


def messages(process: subprocess.Popen[bytes]) -> Iterator[Message]:
    """Yield what the process says until it ends, and how it ended if it did not say; waits."""
    said_last = False
    try:
        while process.stdout and (line := process.stdout.readline(MOST_MESSAGE_BYTES)):
            message = decoded(line)
            if message is not None:
                said_last = not isinstance(message, Progress)
                yield message
        process.wait()
        if not said_last:
            yield Failed(_end_of(process))
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


class HelperProcess:
    """One process while it works, for an event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, job: Job, tell: Callable[[Progress], None]
    ) -> None:
        """Start it; *tell* is told how far it is.

        Raises:
            OSError: it cannot be started.

        """
        self._loop, self._tell = loop, tell
        self._process = started(job)
        self._partial = b""
        self._said: Done | Failed | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._is_closed = False
        loop.add_reader(self._stdout, self._read)
        loop.add_reader(self._pidfd, self._exited)
        limit_s = COMPILE_S + (job.most_s if job.url else 0)
        self._timer = loop.call_later(limit_s, self._too_long)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def result(self) -> Done | Failed:
        """Wait until it has ended; return what it said last."""
        try:
            await self._ended
        finally:
            self.close()
        return self._said or Failed(_end_of(self._process))

    def close(self) -> None:
        """End it if it works still, and leave nothing of it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timer.cancel()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._stdout)
        self._process.kill()
        self._process.wait(_END_S)
        os.close(self._pidfd)
        if self._process.stdout:
            self._process.stdout.close()
        if not self._ended.done():
            self._ended.cancel()

    @property
    def _stdout(self) -> int:
        if self._process.stdout is None:
            raise RuntimeError("its output is a pipe")
        return self._process.stdout.fileno()

    def _read(self) -> None:
        data = os.read(self._stdout, _READ_BYTES)
        if data:
            self._take(data)
        else:
            self._loop.remove_reader(self._stdout)

    def _take(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MOST_MESSAGE_BYTES:
            self._partial = b""
        for line in whole:
            message = decoded(line)
            if isinstance(message, Progress):
                self._tell(message)
            elif message is not None:
                self._said = message

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._stdout)
        os.set_blocking(self._stdout, False)
        with suppress(BlockingIOError):  # what it said last may wait to be read
            while data := os.read(self._stdout, _READ_BYTES):
                self._take(data)
        self._process.poll()
        if not self._ended.done():
            self._ended.set_result(None)

    def _too_long(self) -> None:
        self._said = Failed("it took too long")
        self._process.kill()


def _end_of(process: subprocess.Popen[bytes]) -> str:
    status = process.returncode or 0
    if status < 0:
        with suppress(ValueError):
            return f"the process that reads lists was ended by {signal.Signals(-status).name}"
    return f"the process that reads lists ended unexpectedly (status {status})"


def _environment() -> dict[str, str]:
    chosen = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**chosen, "PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])}
