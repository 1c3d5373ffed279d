"""Take on a network namespace, a cgroup and a user, then become another program.

Run by path with ``python -I -S`` (forked.py alone imports it): it starts in some 20 ms, needs no
compiler and leaves no process of its own behind, because the last thing it does is ``execve``. What
it is to do comes as one JSON argument (see `Entrance` in process.py). The pid stays the one the
caller knows.

The file descriptor `status` tells the caller how it went: one ``+`` just before the exec, and
whatever fails in words. It closes by itself when the program starts, so ``+`` and then the end of
file says "runs", and an end of file with nothing before it says that this interpreter died.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
HIGH_FD = 512
"""Descriptors are parked from here on while the wanted numbers are filled."""
FAILED = 126


def enter_netns(path: str) -> None:
    """Move this process to the network namespace that *path* names."""
    enter_namespace(path, CLONE_NEWNET)


def enter_namespace(path: str, kind: int) -> None:
    """Move this process to a namespace of this kind."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # os.setns came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    os.close(descriptor)


def bind_files(binds: dict[str, str]) -> None:
    """Have these files in the place of others, in a mount namespace of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)

    check(libc.unshare(CLONE_NEWNS), "a mount namespace")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "/")
    for target, source in binds.items():
        places = (os.fsencode(source), os.fsencode(os.path.realpath(target)))
        check(libc.mount(*places, None, MS_BIND, None), target)


def become_user(uid: int, gid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def place_descriptors(wanted: dict[str, int]) -> None:
    """Put each inherited descriptor at the number the program expects it at."""
    parked = {
        int(target): fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
        for target, source in wanted.items()
    }
    for source in set(wanted.values()):
        os.close(source)
    for target, source in parked.items():
        os.dup2(source, target, inheritable=True)


def take_on(wish: dict[str, Any]) -> None:
    """Do all that *wish* says short of the program."""
    Path(wish["cgroup"], "cgroup.procs").write_text("0", encoding="ascii")
    if wish["netns"] is not None:
        enter_netns(wish["netns"])
    if wish["mntns"] is not None:
        enter_namespace(wish["mntns"], CLONE_NEWNS)
    if wish["binds"]:
        bind_files(wish["binds"])
    place_descriptors(wish["fds"])
    os.chdir(wish["cwd"])
    if wish["uid"] is not None:
        become_user(wish["uid"], wish["gid"])


def enter(wish: dict[str, Any], status: int) -> None:
    """Do all that *wish* says; returns only by raising."""
    take_on(wish)
    # What is ignored stays so across exec: the interpreter ignores two, the caller's shell others.
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.write(status, b"+")
    os.execve(wish["exe"], wish["argv"], wish["env"])  # noqa: S606  no shell is wanted


def main() -> None:
    """Read the wish, fulfil it, or say why not."""
    wish = json.loads(sys.argv[1])
    status = fcntl.fcntl(wish["status"], fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    os.close(wish["status"])
    try:
        enter(wish, status)
    except OSError as error:
        os.write(status, os.fsencode(str(error)))
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
