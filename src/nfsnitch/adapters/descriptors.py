"""File descriptors kept in reserve, for what must work when all others are used up.

Taking the rules away needs some, and libnftables ends the process (`exit(3)`) when it gets none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ENOUGH = 16
"""For libnftables, and a netlink socket of our own."""


class Reserve:
    """Descriptors that stand for others; of no use but to be given up."""

    def __init__(self, number: int = ENOUGH) -> None:
        """Take *number* of them.

        Raises:
            OSError: there are not so many.

        """
        self._number = number
        self._kept: list[int] = []
        self._take()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Have so many descriptors free inside the block.

        Raises:
            OSError: somebody else has taken them.

        """
        self._take()
        self.close()
        # The limit may have been lowered meanwhile: then there are fewer than were given up.
        self._take()
        self.close()
        try:
            yield
        finally:
            try:
                self._take()
            except OSError:
                # Some were taken inside the block and kept; the next block will see.
                self.close()

    def close(self) -> None:
        """Give them up for good."""
        while self._kept:
            os.close(self._kept.pop())

    def _take(self) -> None:
        while len(self._kept) < self._number:
            self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
