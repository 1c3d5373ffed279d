"""One instance in each network namespace, by a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

RUN_DIRECTORY = Path("/run/nfsnitch")


class AlreadyRunningError(Exception):
    """Another instance has this network namespace; the message names it."""


class InstanceLock:
    """The right to enforce in one network namespace."""

    def __init__(self, netns: int, directory: Path = RUN_DIRECTORY) -> None:
        """Take the lock of the namespace with inode number *netns*.

        Raises:
            AlreadyRunningError: another process has it.
            OSError: the lock file cannot be made.

        """
        directory.mkdir(mode=0o755, exist_ok=True)
        self._path = directory / f"netns-{netns}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunningError(
                f"nfsnitch already runs in network namespace net:[{netns}] as process {holder} "
                f"({self._path}); stop that one first"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would race with the next to lock it."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
