"""What the tests need of a machine, and whether this one has it.

A capability is a pytest marker with a probe that really tries. There are two ways of not having it:
something can be installed or done about it (`MISSING`), or the running kernel says no to root
(`REFUSED`) and nobody can help that from here. With CI=true the first is an error, for a run that
quietly skips what it is for proves nothing; the second never is.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from vm.kernels import LINES, Kernel, NoKernelError

_KERNEL_SAYS_NO = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
)
"""From root's system call: it is not built in or locked down. EINVAL: an unknown flag or type."""


class State(Enum):
    """Whether a capability is there, and if not, whose fault that is."""

    PRESENT = "present"
    MISSING = "missing on this machine"
    REFUSED = "refused by the running kernel"


class Outcome(Enum):
    """What becomes of a test that needs a capability."""

    RUN = "run"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe found."""

    state: State
    detail: str = ""
    """What exactly is not there."""
    remedy: str = ""
    """What a person can do about it."""


PRESENT = Answer(State.PRESENT)


def outcome(answer: Answer, *, ci: bool) -> Outcome:
    """Return what becomes of a test whose capability's probe gave *answer*."""
    if answer.state is State.PRESENT:
        return Outcome.RUN
    return Outcome.FAIL if ci and answer.state is State.MISSING else Outcome.SKIP


def explain(name: str, answer: Answer) -> str:
    """Return one line for a person who wonders why the test did not run."""
    line = f"capability {name}: {answer.state.value}: {answer.detail}"
    return f"{line}; {answer.remedy}" if answer.remedy else line


def answer_to_errno(number: int, what: str, *, is_root: bool) -> Answer:
    """Return what the result of a system call (0 or its errno) says about *what* it tried."""
    if number == 0:
        return PRESENT
    detail = f"{what}: {errno.errorcode.get(number, str(number))}, {os.strerror(number)}"
    if not is_root:
        return Answer(State.MISSING, detail, "run as root: sudo make test")
    if number in _KERNEL_SAYS_NO:
        return Answer(State.REFUSED, detail)
    return Answer(State.MISSING, detail, "see which limit of this machine is reached")


def answer_to_cgroup2(mounts: str, filesystems: str) -> Answer:
    """Return what /proc/mounts and /proc/filesystems say about cgroup v2."""
    if any(line.split()[2:3] == ["cgroup2"] for line in mounts.splitlines()):
        return PRESENT
    if "cgroup2" not in filesystems.split():
        return Answer(State.REFUSED, "it has no cgroup v2")
    remedy = "mount it: mount -t cgroup2 none /sys/fs/cgroup"
    return Answer(State.MISSING, "cgroup v2 is not mounted", remedy)


def probe_root() -> Answer:
    """Ask who we are."""
    if os.geteuid() == 0:
        return PRESENT
    return Answer(State.MISSING, f"this is user {os.geteuid()}", "run as root: sudo make test")


_UNSHARE_NET = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
sys.exit(ctypes.get_errno() if libc.unshare(CLONE_NEWNET) else 0)
"""


def probe_netns() -> Answer:
    """Make a network namespace, in a process of its own."""
    command = [sys.executable, "-I", "-S", "-c", _UNSHARE_NET]
    result = subprocess.run(command, check=False, timeout=20)
    return answer_to_errno(result.returncode, "unshare(CLONE_NEWNET)", is_root=os.geteuid() == 0)


_BPF_PROG_TYPE_CGROUP_SOCK = 9
_RETURN_ONE = bytes.fromhex("b700000001000000 9500000000000000")  # r0 = 1; exit


def probe_bpf() -> Answer:
    """Load a program of two instructions, and look for cgroup v2, where ours get attached."""
    try:
        libbpf = ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        return Answer(State.MISSING, str(error), "run make setup")
    program_fd: int = libbpf.bpf_prog_load(
        _BPF_PROG_TYPE_CGROUP_SOCK, b"probe", b"GPL", _RETURN_ONE, ctypes.c_size_t(2), None
    )
    if program_fd < 0:
        return answer_to_errno(-program_fd, "bpf(BPF_PROG_LOAD)", is_root=os.geteuid() == 0)
    os.close(program_fd)
    return answer_to_cgroup2(
        Path("/proc/mounts").read_text(encoding="utf-8"),
        Path("/proc/filesystems").read_text(encoding="utf-8"),
    )


def probe_vm() -> Answer:
    """Look for the emulator and the kernels."""
    program = f"qemu-system-{platform.machine()}"
    if not shutil.which(program):
        return Answer(State.MISSING, f"there is no {program}", "run scripts/setup --vm")
    try:
        for line in LINES:
            Kernel.of(line)
    except NoKernelError as error:
        return Answer(State.MISSING, str(error), "run scripts/setup --vm")
    return PRESENT


def probe_ui() -> Answer:
    """Import Qt as the program does; its libraries are found missing only then."""
    try:
        importlib.import_module("PyQt6.QtWidgets")
    except ImportError as error:
        return Answer(State.MISSING, str(error), "install PyQt6 and the libraries it names")
    return PRESENT


PROBES: dict[str, Callable[[], Answer]] = {
    "root": probe_root,
    "netns": probe_netns,
    "bpf": probe_bpf,
    "vm": probe_vm,
    "ui": probe_ui,
}
"""Marker → probe. (`slow` is a marker too, but nothing that a machine could lack.)"""

SHARED_MACHINE = frozenset({"root", "netns", "bpf", "vm"})
"""Tests with these change the machine they run on: those of a file, one at a time."""


@cache
def probe(name: str) -> Answer:
    """Return what the probe of marker *name* finds; it is tried once, when first asked for."""
    return PROBES[name]()


def is_ci() -> bool:
    """Tell whether this is continuous integration, where nothing may be missing."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}
