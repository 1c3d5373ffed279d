"""The names of one run's things, and the removal of all that bears them.

Whatever the lab makes outside its own process (namespaces, cgroup, folder) has a name that tells
which process made it. So a teardown needs no memory of what was built so far, and what a killed run
left behind is found by the next one.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nfsnitch.adapters.bpf import bpffs
from nfsnitch.adapters.bpf.keeping import remove_pins
from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.lab import cgroups, namespaces
from nfsnitch.lab.waiting import LabError

_PATTERN = re.compile(r"nfs-(?P<pid>\d+)-(?P<start>\d+)-(?P<number>\d+)(-[\w-]+)?")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """One built lab: which process made it, and which one of that process's labs it is."""

    pid: int
    start_ticks: int
    """Start time of the process in clock ticks since boot: tells a reused pid apart."""
    number: int

    @classmethod
    def new(cls) -> Self:
        """Return a name that no other run on this machine has."""
        pid = os.getpid()
        start_ticks = _start_ticks(pid)
        if start_ticks is None:
            raise LabError("/proc does not show this process: is it mounted?")
        return cls(pid, start_ticks, next(_numbers))

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Return the run that *name* belongs to, None for a name that is not the lab's."""
        match = _PATTERN.fullmatch(name)
        return cls(int(match["pid"]), int(match["start"]), int(match["number"])) if match else None

    def __str__(self) -> str:
        """Return what the names of all its things begin with."""
        return f"nfs-{self.pid}-{self.start_ticks}-{self.number}"

    def is_alive(self) -> bool:
        """Tell whether the process that made it still runs."""
        return _start_ticks(self.pid) == self.start_ticks

    def netns(self, host: str) -> str:
        """Return the name of the network namespace of *host*."""
        return f"{self}-{host}"

    def cgroup(self) -> Path:
        """Return the directory of its cgroup."""
        return v2_root() / str(self)

    def folder(self) -> Path:
        """Return the folder for its files."""
        return Path(tempfile.gettempdir()) / str(self)

    def remove(self) -> None:
        """End its processes and remove its cgroup, namespaces and files; absent is fine."""
        cgroups.remove(self.cgroup())
        for name in namespaces.names():
            if Run.of(name) == self:
                with suppress(FileNotFoundError):  # another run cleans up the same
                    # What a killed firewall has pinned would go on recording.
                    remove_pins(bpffs.PINS / bpffs.folder_name(namespaces.inode(name)))
                namespaces.remove(name)
        _remove_folder(self.folder())


def remove_leftovers() -> list[Run]:
    """Remove what runs left behind that could not tear down (kill -9); return those runs."""
    dead = sorted({run for run in _present() if not run.is_alive()})
    for run in dead:
        run.remove()
    return dead


def _present() -> Iterator[Run]:
    names = itertools.chain(
        namespaces.names(),
        (entry.name for entry in v2_root().glob("nfs-*")),
        (entry.name for entry in Path(tempfile.gettempdir()).glob("nfs-*")),
    )
    yield from (run for name in names if (run := Run.of(name)))


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything, also parentheses and spaces.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _remove_folder(path: Path) -> None:
    """Remove *path*, but only what this user made: the place is open to everybody."""
    try:
        if path.lstat().st_uid == os.geteuid():
            shutil.rmtree(path)
    except FileNotFoundError:
        return
