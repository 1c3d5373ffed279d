"""What became of packets, told to the next start even by a process that is killed.

The rules count what they pick for the queue; the worker notes here what it gave a verdict, and
what the kernel counted of its queue, which is gone with the process. What is missing then had no
verdict: the kernel dropped it since nobody listened. The numbers stand in a page of memory that is
a file's, so that they outlive the process, whatever ends it.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from struct import Struct

from nfsnitch.adapters.instance import RUN_DIRECTORY

_NUMBERS = Struct("=QQQ")


class Ledger:
    """Three numbers for one network namespace, for whoever has its instance lock."""

    def __init__(self, netns: int, directory: Path = RUN_DIRECTORY) -> None:
        """Open the ledger of the namespace with inode number *netns*; a missing one is all zero.

        Raises:
            OSError: the file cannot be made or mapped.

        """
        directory.mkdir(mode=0o755, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(directory / f"netns-{netns}.ledger", flags, 0o600)
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            self._page = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._page)[: _NUMBERS.size].cast("Q")

    @property
    def evaluated(self) -> int:
        """Packets that were given a verdict, since the rules in force began to count."""
        return self._numbers[0]

    @property
    def queue_dropped(self) -> int:
        """Packets that the kernel dropped since a worker's queue was full."""
        return self._numbers[1]

    @property
    def user_dropped(self) -> int:
        """Packets that the kernel dropped since a worker's socket was full."""
        return self._numbers[2]

    def note_evaluated(self) -> None:
        """Count one packet that was given a verdict."""
        self._numbers[0] += 1

    def note_dropped(self, queue_dropped: int, user_dropped: int) -> None:
        """Say how many the kernel dropped in all, of this worker's queue and those before."""
        self._numbers[1] = queue_dropped
        self._numbers[2] = user_dropped

    def clear(self) -> None:
        """Begin anew, with rules that do."""
        for place in range(len(self._numbers)):
            self._numbers[place] = 0

    def close(self) -> None:
        """Unmap it; the file stays for the next start."""
        self._numbers.release()
        self._page.close()
