"""The file system of pinned eBPF objects (``bpf(2)``, kernel/bpf/inode.c): found, or mounted."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

PLACE = Path("/sys/fs/bpf")
"""Where everybody looks for it; systemd mounts it there."""
PINS = PLACE / "nfsnitch"
"""Ours; a folder for each network namespace."""

_MAGIC = 0xCAFE4A11
"""linux/magic.h, BPF_FS_MAGIC"""
_STATFS_BYTES = 512
"""More than any architecture's struct statfs, which begins with the magic number."""
# linux/mount.h
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_OPTIONS = b"mode=0711"
"""Whoever knows a name may go on from there; what it leads to says who may read it."""


def folder_name(netns: int) -> str:
    """Return the name below `PINS` for the network namespace with this inode number."""
    return f"netns-{netns}"


def netns_of(name: str) -> int | None:
    """Return the inode number in a name made by `folder_name`; None for another name."""
    kind, _, number = name.partition("-")
    return int(number) if kind == "netns" and number.isascii() and number.isdecimal() else None


def is_mounted(place: Path = PLACE) -> bool:
    """Whether *place* is in a bpf file system."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc().statfs(os.fsencode(place), buffer):
        return False
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == _MAGIC


def check_own(folder: Path = PINS) -> None:
    """See to it that *folder*, if it is there, is root's alone to write to.

    A bpf file system that was mounted without options lets everybody make folders and links in it.

    Raises:
        OSError: it is something else, or others could put theirs there.

    """
    with suppress(FileNotFoundError):
        found = folder.lstat()
        others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or others_write:
            text = "it is not a folder that only root can write to; remove it"
            raise OSError(errno.EPERM, text, os.fspath(folder))


def mount(place: Path = PLACE) -> None:
    """See to it that *place* is a bpf file system.

    Raises:
        OSError: it is none and cannot be mounted here; the message says what to do.

    """
    if is_mounted(place):
        return
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if _libc().mount(b"bpf", os.fsencode(place), b"bpf", flags, _OPTIONS):
        number = ctypes.get_errno()
        text = f"{os.strerror(number)}; mount it (mount -t bpf bpf {place})"
        raise OSError(number, f"no bpf file system is mounted at {place}, and none can be: {text}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
