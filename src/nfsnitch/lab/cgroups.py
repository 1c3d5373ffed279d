"""Cgroups (version 2) of the lab's own: made, emptied and removed."""

from __future__ import annotations

import select
from pathlib import Path

from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.lab.waiting import Deadline, TimeIsOverError

EMPTY_TIMEOUT_S = 10.0


def make(path: Path) -> Path:
    """Make the cgroup *path* (and what is missing above it), and return it."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def below_root(path: Path) -> str:
    """Return the name of the cgroup *path* as /proc/PID/cgroup and the records give it."""
    return f"/{path.relative_to(v2_root())}"


def kill(path: Path, timeout_s: float = EMPTY_TIMEOUT_S) -> None:
    """End every process in the cgroup *path* and below it, and wait until nobody is left."""
    (path / "cgroup.kill").write_text("1", encoding="ascii")
    _wait_until_empty(path, timeout_s)


def remove(path: Path, timeout_s: float = EMPTY_TIMEOUT_S) -> None:
    """End every process in the cgroup *path* and below it, then remove it; absent is fine."""
    if not path.is_dir():
        return
    try:
        kill(path, timeout_s)
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
