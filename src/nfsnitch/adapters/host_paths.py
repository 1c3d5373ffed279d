"""Where the machine itself sees a program that a container sees somewhere else.

A container's /usr/bin/curl lies, to whoever writes rules, below the directory on which its overlay
is mounted, as in /var/lib/docker/overlay2/ID/merged/usr/bin/curl. Which one that is follows from
the mounts of both (/proc/PID/mountinfo): they name file systems by device and the part of them that
is mounted. That only proposes a path: it counts if the very same file is found there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters import procfs
from nfsnitch.adapters.mounts import Mounts
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.reading import at_most
from nfsnitch.core.text import decoded, encoded

_MAX_KNOWN = 512
_MISSED_NS = 1_000_000_000
"""How long nobody looks again for a file system that was not found."""
_MAX_MOUNTINFO_BYTES = 4 << 20
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_PROC = Path("/proc")


class Mount(NamedTuple):
    """One line of a mountinfo file (``proc_pid_mountinfo(5)``)."""

    device: int
    """``st_dev`` of the file system."""
    root: str
    """What of it is mounted; ``/`` for all."""
    place: str
    """Where, as the process whose file it is sees it."""


class Program(NamedTuple):
    """An executable as its process sees it."""

    path: str
    mntns: int
    device: int
    inode: int
    pid: int
    start_ns: int


class HostPaths:
    """Finds programs of other mount namespaces in the one that rules are written for."""

    def __init__(
        self,
        mounts: Mounts,
        proc_limit: TimeLimit,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Look for them in *mounts*, and into /proc as often as *proc_limit* allows."""
        self._mounts = mounts
        self._proc_limit = proc_limit
        self._clock_ns = clock_ns
        self._known: dict[tuple[int, int], tuple[str, str]] = {}
        """Mount namespace and device → how paths begin in there, and here."""
        self._missed: dict[tuple[int, int], int] = {}
        """The same → when it was last looked for in vain."""

    def find(self, program: Program) -> str | None:
        """Return the path under which the machine sees *program*; None: under none, or not now."""
        if self._is_at(program.path, program):
            return program.path
        key = (program.mntns, program.device)
        inside, outside = self._known.get(key, ("", ""))
        if key in self._known and program.path.startswith(inside):
            path = outside + program.path[len(inside) :]
            if self._is_at(path, program):
                return path
        if self._clock_ns() - self._missed.get(key, -_MISSED_NS) < _MISSED_NS:
            return None
        with self._proc_limit.spending() as may_look:
            return self._looked_up(program, key) if may_look else None

    def _looked_up(self, program: Program, key: tuple[int, int]) -> str | None:
        theirs = parsed(_read(_PROC / str(program.pid) / "mountinfo"))
        ours = parsed(self._mounts.mountinfo())
        for inside, outside in beginnings(program, theirs, ours):
            path = outside + program.path[len(inside) :]
            if self._is_at(path, program):
                _make_room(self._known)
                self._known[key] = (inside, outside)
                return path
        _make_room(self._missed)
        self._missed[key] = self._clock_ns()
        return None

    def _is_at(self, path: str, program: Program) -> bool:
        file = self._mounts.file_at(encoded(path))
        if file is None:
            return False
        if (file.st_dev, file.st_ino) == (program.device, program.inode):
            return True
        # Of an overlay over several file systems stat() does not tell what the kernel goes by.
        return file.st_ino == program.inode and _same_as_running(file, program)


def parsed(mountinfo: bytes) -> list[Mount]:
    """Return the mounts in a mountinfo file; lines that are none are left out."""
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        major, colon, minor = fields[2].partition(b":") if len(fields) > 4 else (b"", b"", b"")  # noqa: PLR2004
        if colon and major.isdigit() and minor.isdigit():
            device = os.makedev(int(major[:9]), int(minor[:9]))
            found.append(Mount(device, _unescaped(fields[3]), _unescaped(fields[4])))
    return found


def beginnings(
    program: Program, theirs: Iterable[Mount], ours: Iterable[Mount]
) -> Iterator[tuple[str, str]]:
    """Yield how the program's path may begin in its own mount namespace, and how in ours."""
    device = program.device
    in_there = [
        each for each in theirs if each.device == device and _is_below(program.path, each.place)
    ]
    # The process may be gone; then the most likely: its root is the root of the file system.
    there = max(in_there, key=lambda each: len(each.place), default=Mount(device, "/", "/"))
    for here in ours:
        if here.device == device and _is_below(there.root, here.root):
            rest = there.root.rstrip("/")[len(here.root.rstrip("/")) :]
            yield there.place.rstrip("/"), here.place.rstrip("/") + rest


def _is_below(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _same_as_running(file: os.stat_result, program: Program) -> bool:
    """Whether the process is still there, and /proc says that it runs that very file."""
    try:
        running = (_PROC / str(program.pid) / "exe").stat()
    except OSError:
        return False
    seen = procfs.stat(program.pid)
    if seen is None or not procfs.is_same_start(program.start_ns, seen.start_time_ns):
        return False
    return (running.st_dev, running.st_ino) == (file.st_dev, file.st_ino)


def _unescaped(field: bytes) -> str:
    return decoded(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return at_most(opened, _MAX_MOUNTINFO_BYTES)
    except OSError:
        return b""


def _make_room(known: dict[tuple[int, int], tuple[str, str]] | dict[tuple[int, int], int]) -> None:
    if len(known) >= _MAX_KNOWN:
        del known[next(iter(known))]
