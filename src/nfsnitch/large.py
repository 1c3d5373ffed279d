"""Large things that are made once: the interpreter's memory while, and after, they are made."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_LARGE = 10_000
"""Rules. To look through so many for what nobody needs takes tens of milliseconds."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no cycles of garbage meanwhile: each time all that is made would be gone through."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def settle(rules: int) -> None:
    """Give memory back, and never look again for cycles of garbage among what there is by now.

    That is for many *rules*: while they are gone through, every packet would wait. What is
    replaced is freed all the same: there are no cycles in it.
    """
    if rules < _LARGE:
        return
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # malloc_trim(3), of glibc alone
        trim(0)
