"""The very file that a process runs: told apart from all others, and read whole.

What counts is the inode that the owner's record names, not the path: whoever may write to a folder
may put another file there at any time. The kernel lets nobody write to a file while it is being
executed (`execve(2)`, ETXTBSY), so as long as the process runs, what is read is what it runs.
Of a process that is gone the file still counts if it has not changed since the process began, by
its ctime, which nobody can set.

Nothing here but `sha256_of` waits for a disk or a server: attributes are taken as the kernel has
them at hand (`statx(2)`, AT_STATX_DONT_SYNC), and files are opened without being read (O_PATH).
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters import mounts, procfs
from nfsnitch.adapters.sha256 import sha256
from nfsnitch.core.owner import Process
from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown

MAX_BYTES = 1 << 30
"""A larger file is not read."""

_CHUNK_BYTES = 1 << 13
"""Small: before Python 3.12 a packet that comes meanwhile waits until such a piece is digested."""
_AT_FDCWD, _AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = -100, 0x1000, 0x4000
_STATX_WANTED = 0x7FF | 0x1000
"""STATX_BASIC_STATS and STATX_MNT_ID (linux/stat.h)."""
_STATX = Struct("=32xQQ16x32xqI4xqI4x8xIIQ")
"""``struct statx``: inode, size, ctime, mtime, device, number of the mount."""
_STATX_BYTES = 256
_FINE_NS, _COARSE_NS = 50_000_000, 2_100_000_000
"""How long after a change another one may still get the same time: a tick of the kernel's clock;
where a file system keeps whole seconds only, up to two of them."""
_WHOLE_NS = 1_000_000


class FileState(NamedTuple):
    """A file and its state: as long as this is the same, so is what is in the file."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def may_change_unseen(self, now_ns: int) -> bool:
        """Whether a change from *now_ns* (ns since 1970) on might leave all of this the same."""
        is_coarse = self.ctime_ns % _WHOLE_NS == 0
        return now_ns - self.ctime_ns < (_COARSE_NS if is_coarse else _FINE_NS)


class RunningFile(NamedTuple):
    """The file that a process runs, open but not for reading; to be closed."""

    state: FileState
    descriptor: int


def state_of(process: Process) -> FileState | Unknown:
    """Return the state of the file that *process* runs or ran, if that can surely be told."""
    found = _running(process)
    if found is None:
        at_path = _at_path(process)
        if isinstance(at_path, Unknown):
            return at_path
        os.close(at_path.descriptor)
        return at_path.state
    return found


def opened(process: Process) -> RunningFile | Unknown:
    """Return the file that *process* runs or ran, if that can surely be told."""
    try:
        descriptor = os.open(f"{procfs.PROC}/{process.pid}/exe", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return _at_path(process)
    state = _trusted(process, descriptor, b"")
    if state is None:
        os.close(descriptor)
        return _at_path(process)
    return RunningFile(state, descriptor)


def is_at_its_path(process: Process) -> bool:
    """Whether the path of *process*'s program still leads to the very file that it runs."""
    path = process.exe.path
    if isinstance(path, Unknown):
        return False
    descriptor = mounts.of_the_rules().opened_at(encoded(path), cached=True)
    if descriptor is None:
        return False
    found = _statx(descriptor, b"")
    os.close(descriptor)
    return found is not None and _is_of(process, *found)


def sha256_of(file: RunningFile) -> str | Unknown:
    """Return the SHA-256 of a whole file in hexadecimal digits; takes as long as reading it."""
    if file.state.size > MAX_BYTES:
        return too_large(file.state)
    try:
        descriptor = os.open(f"{procfs.PROC}/self/fd/{file.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        return Unknown(f"its file cannot be read: {problem.strerror}")
    try:
        digest = _digest(descriptor, file.state.size)
        if digest is None or state_at(descriptor, b"") != file.state:
            return Unknown("its file changed while it was read")
    except OSError as problem:
        return Unknown(f"its file cannot be read: {problem.strerror}")
    finally:
        os.close(descriptor)
    return digest


def too_large(state: FileState) -> Unknown:
    """Return why there is no hash of a file that is larger than `MAX_BYTES`."""
    return Unknown(f"its file of {state.size} bytes is larger than {MAX_BYTES}, the most is read")


def state_at(directory: int, path: bytes) -> FileState | None:
    """Return the state of a file without waiting for it; None if there is none to see."""
    found = _statx(directory, path)
    return None if found is None else found[0]


def _digest(descriptor: int, size: int) -> str | None:
    """Return the hash of *size* bytes; None if there are more or less of them."""
    digest = sha256()
    room = memoryview(bytearray(_CHUNK_BYTES))
    left = size
    while count := os.readv(descriptor, [room]):
        left -= count
        if left < 0:
            return None
        digest.update(room[:count])
    return None if left else digest.hexdigest()


def _running(process: Process) -> FileState | None:
    path = b"%s/%d/exe" % (bytes(procfs.PROC), process.pid)
    return _trusted(process, _AT_FDCWD, path)


def _trusted(process: Process, directory: int, path: bytes) -> FileState | None:
    """Return the file's state if what is in it now is what *process* began to run."""
    found = _statx(directory, path)
    if found is None or not _is_of(process, *found):
        return None
    if _is_older(found[0], process) or _still_runs(process):
        return found[0]
    return None


def _at_path(process: Process) -> RunningFile | Unknown:
    """Return what is found under the path of a process that is gone."""
    path = process.exe.path
    if isinstance(path, Unknown):
        return Unknown("the process is gone, and its file has no path here")
    descriptor = mounts.of_the_rules().opened_at(encoded(path), cached=True)
    if descriptor is None:
        return Unknown("the process is gone, and so is its file")
    found = _statx(descriptor, b"")
    if found is not None and _is_of(process, *found) and _is_older(found[0], process):
        return RunningFile(found[0], descriptor)
    os.close(descriptor)
    return Unknown("the process is gone, and its file is another one or was changed since")


def _is_of(process: Process, state: FileState, mount_id: int) -> bool:
    """Whether this is the file that the owner's record names.

    The kernel's number for the device is that of the file system. Where one file system has
    several (subvolumes of btrfs, layers of overlayfs), user space is told another one; then the
    mount says which file system it is.
    """
    exe = process.exe
    if state.inode != exe.inode:
        return False
    return state.device == exe.device or exe.device in _devices_of_mount(mount_id, process.pid)


def _devices_of_mount(mount_id: int, pid: int) -> set[int]:
    """Return the device numbers that mountinfo has for a mount (`proc_pid_mountinfo(5)`)."""
    found: set[int] = set()
    for who in (pid, 1, "self"):
        with suppress(OSError):
            for line in Path(f"{procfs.PROC}/{who}/mountinfo").read_bytes().split(b"\n"):
                fields = line.split(b" ", 3)
                if fields[0] == b"%d" % mount_id:
                    major, _, minor = fields[2].partition(b":")
                    found.add(os.makedev(int(major), int(minor)))
    return found


def _is_older(state: FileState, process: Process) -> bool:
    """Whether the file has not changed since the process began."""
    wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return state.ctime_ns < wall_ns + process.start_time_ns


def _still_runs(process: Process) -> bool:
    begin = procfs.stat(process.pid)
    return begin is not None and procfs.is_same_start(process.start_time_ns, begin.start_time_ns)


def _statx(directory: int, path: bytes) -> tuple[FileState, int] | None:
    room = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _AT_STATX_DONT_SYNC | (0 if path else _AT_EMPTY_PATH)
    if _libc.statx(directory, path, flags, _STATX_WANTED, room):
        return None
    inode, size, ctime_s, ctime_ns, mtime_s, mtime_ns, major, minor, mount_id = _STATX.unpack_from(
        room
    )
    times = (mtime_s * 10**9 + mtime_ns, ctime_s * 10**9 + ctime_ns)
    return FileState(os.makedev(major, minor), inode, size, *times), mount_id


_libc = ctypes.CDLL(None, use_errno=True)
