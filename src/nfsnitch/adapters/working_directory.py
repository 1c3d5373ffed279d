"""The working directory of a process (``proc_pid_cwd(5)``), for the scripts that it runs."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

from nfsnitch.adapters import procfs
from nfsnitch.core.owner import Executable, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

MAX_KEPT = 1_024

_Key = tuple[int, int, Executable]


class WorkingDirectories:
    """Looks working directories up, once for each process and program.

    A process may change its directory at any time. What is found is where it is when it is first
    asked about, which for most scripts is where they were started.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, str | Unknown] = OrderedDict()

    def of(self, process: Process) -> str | Unknown:
        """Return the working directory of a *process* that still runs the same program."""
        key = (process.pid, process.start_time_ns, process.exe)
        known = self._kept.get(key)
        if known is None:
            known = self._kept[key] = _looked_up(process)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return known


def _looked_up(process: Process) -> str | Unknown:
    link = procfs.PROC / str(process.pid) / "cwd"
    try:
        target = os.readlink(bytes(link))  # noqa: PTH115  Path has no way to get bytes
        directory = link.stat()
    except OSError as problem:
        return Unknown(f"/proc/{process.pid}/cwd: {problem.strerror}")
    # Only now: what has this pid here and now had it when the link was read.
    begin = procfs.stat(process.pid)
    if begin is None or not procfs.is_same_start(process.start_time_ns, begin.start_time_ns):
        return Unknown(f"process {process.pid} is gone, and its working directory with it")
    if procfs.executable(process.pid).inode != process.exe.inode:
        return Unknown(f"process {process.pid} runs another program by now")
    # In a mount namespace of its own any directory can have any name, and it may be deleted.
    with suppress(OSError):
        if os.path.samestat(os.stat(target), directory):  # noqa: PTH116  bytes
            return decoded(target)
    return Unknown("its working directory is deleted, or another one here")
