"""What keeps the daemon small."""

from __future__ import annotations

import ctypes
import importlib
import sys
from contextlib import suppress


def import_asyncio() -> None:
    """Import asyncio without TLS, which costs 4 MB and has no use here.

    asyncio does without where there is no `ssl` (asyncio/sslproto.py). Whoever imports `ssl` later
    still gets it.
    """
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    # This is how an import is made to fail (import system, "The module cache").
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("asyncio")
    finally:
        del sys.modules["ssl"]


def share_one_heap() -> None:
    """Let threads take memory from where everybody does, not from a heap of their own each.

    Before there are any: mallopt(3), M_ARENA_MAX.
    """
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(-8, 1)


def return_free_memory() -> None:
    """Give the kernel back what the C library keeps in reserve (malloc_trim(3)).

    Loading the eBPF programs takes several MB for a moment, since libbpf reads all of the kernel's
    type information.
    """
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
