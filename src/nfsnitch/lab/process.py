"""Real programs, started inside a namespace and a cgroup, waited for and ended by pidfd."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import nfsnitch
from nfsnitch.lab import forked
from nfsnitch.lab.waiting import PATIENCE, Deadline, FollowedFile, LabError, TimeIsOverError

ENTER = Path(__file__).with_name("enter.py")
_START_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 10.0
_MESSAGE_BYTES = 65536
_RUNS = b"+"
"""What enter.py writes just before the exec."""

Process = subprocess.Popen[bytes] | forked.Forked
Stream = FollowedFile | int
"""Where a program's output goes: a file that can be followed, or a descriptor."""


class SpawnError(LabError):
    """A program could not be started."""


class EndedError(LabError):
    """A program ended that should have gone on."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a program is to be, and where."""

    argv: tuple[str, ...]
    cgroup: Path
    netns: Path | None
    """None: the namespace of the caller."""
    env: Mapping[str, str]
    cwd: Path
    exe: str | None = None
    """The file to run; None looks ``argv[0]`` up in the PATH of *env*."""
    uid: int | None = None
    gid: int | None = None
    """None with a uid: the same number."""
    fds: Mapping[int, int] = field(default_factory=dict)
    """Number in the program → descriptor of this process."""
    binds: Mapping[str, str] = field(default_factory=dict)
    """Path of a file → the file that the program shall see there (root alone can have that)."""
    mntns: Path | None = None
    """The mount namespace it is to be in; None: the caller's."""

    def as_wish(self, status_fd: int) -> dict[str, Any]:
        """Return what enter.py reads."""
        return {
            "argv": self.argv,
            "exe": self.exe or found(self.argv[0], self.env),
            "cgroup": str(self.cgroup),
            "netns": None if self.netns is None else str(self.netns),
            "env": dict(self.env),
            "cwd": str(self.cwd),
            "uid": self.uid,
            "gid": self.uid if self.gid is None else self.gid,
            "fds": {str(target): source for target, source in self.fds.items()},
            "binds": dict(self.binds),
            "mntns": None if self.mntns is None else str(self.mntns),
            "status": status_fd,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended, and what it said."""

    pid: int
    argv: tuple[str, ...]
    returncode: int
    """Exit status, or minus the number of the signal that ended it."""
    stdout: str
    stderr: str
    elapsed_s: float


class Child:
    """A started program. Its pid is the one it keeps: it was never anybody else's child."""

    def __init__(self, entrance: Entrance, process: Process, out: Stream, err: Stream) -> None:
        self.argv = entrance.argv
        self.pid = process.pid
        self.pidfd = os.pidfd_open(process.pid)
        self._process = process
        self._out, self._err = out, err
        self._started = time.monotonic()
        self._elapsed_s: float | None = None

    @classmethod
    def start(cls, entrance: Entrance, out: Stream, err: Stream) -> Self:
        """Start a program; returns when it runs (its `execve` has succeeded)."""
        status, status_theirs = os.pipe()
        try:
            try:
                process = _process(entrance, status_theirs, out, err)
            finally:
                os.close(status_theirs)
            child = cls(entrance, process, out, err)
            child.check_start(status)
        finally:
            os.close(status)
        return child

    @property
    def stdout(self) -> FollowedFile:
        """Return its standard output."""
        return _file(self._out)

    @property
    def stderr(self) -> FollowedFile:
        """Return its standard error."""
        return _file(self._err)

    def check_start(self, status: int) -> None:
        """Wait until enter.py has become the program; its words on *status* say why it did not."""
        message = _read_status(status)
        if message == _RUNS:
            # From here on, so that the time taken is the program's own.
            self._started = time.monotonic()
            return
        self.close()
        why = os.fsdecode(message.removeprefix(_RUNS)) or self._said()
        raise SpawnError(f"{self.argv[0]} could not be started: {why}")

    def has_ended(self) -> bool:
        """Tell whether it is over; it may still have to be reaped."""
        return self._process.returncode is not None or _is_readable(self.pidfd, 0)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit status (minus the signal that ended it)."""
        if self._process.returncode is None and not _is_readable(self.pidfd, timeout_s * PATIENCE):
            raise TimeIsOverError(f"{self.argv[0]} still runs after {timeout_s:g} s")
        if self._elapsed_s is None:
            self._elapsed_s = time.monotonic() - self._started
        return self._process.wait()

    def finish(self, timeout_s: float) -> Finished:
        """Wait for its end; return how it ended and all that it said."""
        returncode = self.wait(timeout_s)
        stdout, stderr = (
            stream.text() if isinstance(stream, FollowedFile) else ""
            for stream in (self._out, self._err)
        )
        elapsed_s = self._elapsed_s or 0.0
        return Finished(self.pid, self.argv, returncode, stdout, stderr, elapsed_s)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has been reaped; its pid cannot have become another's."""
        if self._process.returncode is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Ask it to end and wait until it has; return its exit status."""
        self.send(number)
        return self.wait(timeout_s)

    def wait_for_line(
        self,
        stream: FollowedFile,
        fits: Callable[[str], bool],
        timeout_s: float,
    ) -> str:
        """Wait for a line that *fits* in *stream*, and return it; its early end is an error."""
        for line in stream.follow(timeout_s=timeout_s, ends_fd=self.pidfd):
            if fits(line):
                return line
        if not self.has_ended():
            raise TimeIsOverError(
                f"{self.argv[0]} did not say what was waited for in {timeout_s:g} s; {self._said()}"
            )
        status = self.wait(0)
        raise EndedError(f"{self.argv[0]} ended early with status {status}; {self._said()}")

    def close(self) -> None:
        """Kill it if it still runs, and reap it."""
        if self.pidfd < 0:
            return
        self.send(signal.SIGKILL)
        self.wait(_END_TIMEOUT_S)
        os.close(self.pidfd)
        self.pidfd = -1

    def _said(self) -> str:
        err = self._err
        text = err.text().strip() if isinstance(err, FollowedFile) else ""
        return f"it said: {text}" if text else "it said nothing"


def found(program: str, env: Mapping[str, str]) -> str:
    """Return the path of *program* as the PATH of *env* has it."""
    path = shutil.which(program, path=env.get("PATH", os.defpath))
    if path is None:
        raise SpawnError(f"{program} is not installed, or not in PATH")
    return path


def same_modules() -> dict[str, str]:
    """Return the environment in which a Python finds the modules that this one has found.

    Programs of the lab start in another folder, and where the package is not installed it was
    found by a path that may be relative.
    """
    return {"PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])}


def _process(entrance: Entrance, status_fd: int, out: Stream, err: Stream) -> Process:
    wish = json.dumps(entrance.as_wish(status_fd))
    opened: list[IO[bytes]] = []
    try:
        stdout, stderr = _descriptor(out, opened), _descriptor(err, opened)
        if forked.FORKS:
            return forked.Forked(wish, stdout, stderr)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(ENTER), wish],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(status_fd, *entrance.fds.values()),
        )
    finally:
        for file in opened:
            file.close()


def _descriptor(stream: Stream, opened: list[IO[bytes]]) -> int:
    if isinstance(stream, int):
        return stream
    # Appending: two streams may share one file.
    file = stream.path.open("ab")
    opened.append(file)
    return file.fileno()


def _file(stream: Stream) -> FollowedFile:
    if isinstance(stream, FollowedFile):
        return stream
    raise LabError("this stream was given a descriptor when the program was started")


def _read_status(status: int) -> bytes:
    """Return all that enter.py wrote, once it has become the program or has given up."""
    deadline = Deadline(_START_TIMEOUT_S)
    message = b""
    while _is_readable(status, deadline.left_s()):
        chunk = os.read(status, _MESSAGE_BYTES)
        if not chunk:
            return message
        message += chunk
    return message + b"it does not get going"


def _is_readable(descriptor: int, timeout_s: float) -> bool:
    # Not select: a descriptor of 1024 and more is beyond it.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(math.ceil(timeout_s * 1000)))
