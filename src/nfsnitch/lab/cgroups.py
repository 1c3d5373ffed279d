"""Cgroups (version 2) of the lab's own: where they are mounted, made, emptied and removed."""

from __future__ import annotations

import re
import select
from pathlib import Path

from nfsnitch.lab.waiting import Deadline, LabError, TimeIsOverError

MOUNTINFO = Path("/proc/self/mountinfo")
EMPTY_TIMEOUT_S = 10.0


def unified_mount(mountinfo: Path = MOUNTINFO) -> Path:
    """Return where cgroup v2 is mounted; on hybrid systems that is not /sys/fs/cgroup itself."""
    for line in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mount, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            return Path(_unescaped(mount.split(" ")[4]))
    raise LabError("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")


def make(path: Path) -> Path:
    """Make the cgroup *path* (and what is missing above it), and return it."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def below_root(path: Path) -> str:
    """Return the name of the cgroup *path* as /proc/PID/cgroup and the records give it."""
    return f"/{path.relative_to(unified_mount())}"


def remove(path: Path, timeout_s: float = EMPTY_TIMEOUT_S) -> None:
    """End every process in the cgroup *path* and below it, then remove it; absent is fine."""
    if not path.is_dir():
        return
    try:
        (path / "cgroup.kill").write_text("1", encoding="ascii")
        _wait_until_empty(path, timeout_s)
        for folder in sorted(_tree(path), reverse=True):
            folder.rmdir()
    except FileNotFoundError:
        # Another run cleans the same leftovers at the same time.
        return


def _tree(path: Path) -> list[Path]:
    return [path, *(entry for entry in path.rglob("*") if entry.is_dir())]


def _wait_until_empty(path: Path, timeout_s: float) -> None:
    """Wait until the kernel says that nobody is left; it signals a change as POLLPRI."""
    deadline = Deadline(timeout_s)
    with (path / "cgroup.events").open(encoding="ascii") as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            if not poll.poll(deadline.left_ms()):
                raise TimeIsOverError(f"{path} has live processes {timeout_s:g} s after the kill")
            events.seek(0)


def _unescaped(text: str) -> str:
    r"""Undo the octal escapes (``\040``) of mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
