"""Where the paths in the rules lead: the mount namespace of the first process.

A service manager may give the daemon a mount namespace of its own (``PrivateTmp=``,
``ProtectSystem=``, ``ip netns exec``), in which /tmp, /home or /sys are not what they are to
everybody else. But rules are written by somebody who sees the machine as its first process does,
and so a path means the file that is found under it there.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from struct import Struct

_FIRST = Path("/proc/1")
_SELF = Path("/proc/self")
_OPENAT2 = 437
"""The number of ``openat2(2)``: one for all architectures that this runs on."""
_OPEN_HOW = Struct("=QQQ")
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT, _RESOLVE_CACHED = 0x02, 0x10, 0x20


class Mounts:
    """One process's mount namespace, and the files in it."""

    def __init__(self, process: Path) -> None:
        """Look at it through *process*, its folder in /proc.

        Raises:
            OSError: that is not allowed.

        """
        self.namespace = (process / "ns" / "mnt").stat().st_ino
        """Its inode number, as in ``mnt:[4026531841]``."""
        self._process = process
        self._root = process / "root"
        self._root.stat()
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def mountinfo(self) -> bytes:
        """Return what is mounted where in there (`proc_pid_mountinfo(5)`), b"" if unknown."""
        try:
            return (self._process / "mountinfo").read_bytes()
        except OSError:
            return b""

    def file_at(self, path: bytes) -> os.stat_result | None:
        """Return the file that an absolute path leads to in there; None if there is none to see.

        Symbolic links on the way mean what they mean in there, too.
        """
        found = self.opened_at(path)
        if found is None:
            return None
        try:
            return os.fstat(found)
        except OSError:
            return None
        finally:
            os.close(found)

    def opened_at(self, path: bytes, *, cached: bool = False) -> int | None:
        """Return a descriptor (O_PATH) of what `file_at` looks at; None if there is none to see.

        With *cached* None also if the kernel would have to ask a disk or a server for the way.
        """
        flags = os.O_PATH | os.O_CLOEXEC
        resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (_RESOLVE_CACHED if cached else 0)
        how = _OPEN_HOW.pack(flags, 0, resolve)
        try:
            root = os.open(self._root, flags | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            found = self._syscall(_OPENAT2, root, path, how, ctypes.c_size_t(len(how)))
        finally:
            os.close(root)
        return None if found < 0 else int(found)


@cache
def of_the_rules() -> Mounts:
    """Return the first process's; where that is not to be seen, this process's own."""
    try:
        return Mounts(_FIRST)
    except OSError:
        return Mounts(_SELF)
