"""The network namespace that this process is in."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_SO_NETNS_COOKIE = 71
"""asm-generic/socket.h; Linux 5.14."""


def inode() -> int:
    """Return the namespace's inode number, as in ``net:[4026531840]``."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def cookie() -> int:
    """Return the number by which eBPF programs know the namespace; never used again.

    Raises:
        OSError: the kernel is older than 5.14.

    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as problem:
            text = "the kernel does not number network namespaces; Linux 5.14 or later is needed"
            raise OSError(problem.errno, text) from problem
    (number,) = struct.unpack("=Q", raw)
    return int(number)
