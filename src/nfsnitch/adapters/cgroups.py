"""Where the cgroup v2 hierarchy is mounted (``cgroups(7)``)."""

from __future__ import annotations

import errno
import re
import select
from pathlib import Path

_PROC = Path("/proc")
_EMPTY_TIMEOUT_MS = 2_000


def v2_root(proc: Path = _PROC) -> Path:
    """Return the directory of the root cgroup.

    ``ip netns exec`` puts a fresh sysfs over /sys, which hides what was mounted below; then the way
    leads through the first process's root directory.

    Raises:
        FileNotFoundError: no cgroup v2 file system is mounted.

    """
    here = _mount_point(proc / "self" / "mountinfo")
    if here is not None:
        return here
    first = _mount_point(proc / "1" / "mountinfo")
    if first is not None:
        return proc / "1" / "root" / first.relative_to("/")
    raise FileNotFoundError(
        "no cgroup v2 file system is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup)"
    )


def remove(cgroup: Path) -> None:
    """Remove a cgroup without children; who is left in it is killed first.

    Raises:
        OSError: there is none, or it does not become empty.

    """
    with (cgroup / "cgroup.events").open("rb") as events:
        (cgroup / "cgroup.kill").write_text("1", "ascii")
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            events.read()  # the next change from here on wakes the poll
            try:
                cgroup.rmdir()
            except OSError as problem:
                if problem.errno != errno.EBUSY or not poll.poll(_EMPTY_TIMEOUT_MS):
                    raise
            else:
                return


def _mount_point(mountinfo: Path) -> Path | None:
    for line in mountinfo.read_text("utf-8", "surrogateescape").splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split()[0] == "cgroup2":
            return Path(_unescaped(place.split()[4]))
    return None


def _unescaped(text: str) -> str:
    r"""Undo the octal escapes (``\040``) of mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
