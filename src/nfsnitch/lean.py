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


_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 131_072


def keep_little_memory() -> None:
    """Have the C library give memory back that is not needed any more (mallopt(3)).

    Threads take it from where everybody does, not from a heap of their own each, if this is called
    before there are any. Large blocks go back at once; by itself, glibc calls a block large only
    if it is larger than any that was ever given back.
    """
    with suppress(AttributeError):  # not glibc
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def return_free_memory() -> None:
    """Give the kernel back what the C library keeps in reserve (malloc_trim(3)).

    Loading the eBPF programs takes several MB for a moment, since libbpf reads all of the kernel's
    type information.
    """
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
