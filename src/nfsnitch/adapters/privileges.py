"""What this process may do to the machine (``capabilities(7)``), and giving up most of it.

The daemon starts with what it takes to load eBPF programs, and then keeps `KEPT` alone: for good,
as nothing that it could run gives it more again (`reduce`). Each capability that is kept, and each
that the start needs, says what for; tests run the daemon with exactly these.
"""

from __future__ import annotations

import ctypes
import os
from enum import IntEnum
from pathlib import Path
from struct import Struct

_STATUS = Path("/proc/thread-self/status")
_TASKS = Path("/proc/self/task")
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")

# linux/prctl.h
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 4, 24, 28, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

# linux/securebits.h: each bit, and the one above it, which locks it
_NO_CAP_AMBIENT_RAISE = 0b11 << 6
_KEEP_CAPS_OFF = 0b10 << 4

_CAPABILITY_VERSION_3 = 0x20080522
_CAP_HEADER = Struct("=Ii")
_CAP_DATA = Struct("=6I")
"""Effective, permitted, inheritable: the lower 32 of each, then the upper."""
_LOWER = 0xFFFFFFFF


class Capability(IntEnum):
    """The capabilities that anything here is about (``linux/capability.h``)."""

    CAP_DAC_READ_SEARCH = 2
    CAP_SETPCAP = 8
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_PERFMON = 38
    CAP_BPF = 39


KEPT = {
    Capability.CAP_NET_ADMIN: "verdicts, conntrack, closing sockets, taking the ruleset away again",
    Capability.CAP_SYS_PTRACE: "seeing which program another user's process runs, and its sockets",
    Capability.CAP_DAC_READ_SEARCH: "the same, and telling whether a path is that very program",
}
"""What the daemon goes on with."""

AT_START = KEPT | {
    Capability.CAP_BPF: "loading eBPF programs",
    Capability.CAP_PERFMON: "eBPF programs that read the kernel's memory",
    Capability.CAP_NET_RAW: "the sockets by which refused DNS questions are answered",
    Capability.CAP_SETPCAP: "giving up the rest",
}
"""What the daemon has to be started with."""


class PrivilegesError(Exception):
    """Privileges could not be given up; the message says which and why."""


def reduce(*, bpf: bool = False) -> None:
    """Give up, for good, all privileges but `KEPT`; take on no new ones by whatever is executed.

    With *bpf*, CAP_BPF is kept as well (see `OwnerStore.needs_bpf`). Programs that are run from
    here on get nothing. Other processes of this user can neither trace this one nor make it dump
    its memory.

    Linux has all of this for each thread (except for the last), so it must be done before there is
    more than one: threads made later are born with what their maker has.

    Raises:
        PrivilegesError: there are threads already, a capability of `KEPT` is missing, or the kernel
            refused.

    """
    if len(os.listdir(_TASKS)) != 1:  # noqa: PTH208  only how many
        raise PrivilegesError("privileges must be given up before threads are started")
    kept = {*KEPT, Capability.CAP_BPF} if bpf else set(KEPT)
    lacking = (kept | {Capability.CAP_SETPCAP}) - effective()
    if lacking:
        raise PrivilegesError(f"{named(lacking)} is missing: it is needed to go on")
    # With nothing inheritable and the bounding set empty, which takes CAP_SETPCAP, root's programs
    # get nothing either.
    _set_capabilities(kept | {Capability.CAP_SETPCAP})
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, doing="clearing the ambient capabilities")
    for number in range(int(_LAST_CAPABILITY.read_text("ascii")) + 1):
        _prctl(_PR_CAPBSET_DROP, number, doing=f"dropping capability {number} for programs")
    locked = _NO_CAP_AMBIENT_RAISE | _KEEP_CAPS_OFF
    _prctl(_PR_SET_SECUREBITS, locked, doing="setting the securebits")
    _set_capabilities(kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, doing="ruling out new privileges")
    _prctl(_PR_SET_DUMPABLE, 0, doing="ruling out memory dumps")


def keep_only(kept: set[Capability]) -> None:
    """Give up all capabilities of this process but those of *kept* that it has; gain none by exec.

    CAP_SYS_ADMIN stays where it stands for one that is missing (see `missing_at_start`).

    Raises:
        PrivilegesError: the kernel refused.

    """
    there = effective()
    stays = {each for each in kept if each in there}
    if stays != kept and Capability.CAP_SYS_ADMIN in there:
        stays.add(Capability.CAP_SYS_ADMIN)
    _set_capabilities(stays)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, doing="ruling out new privileges")


def effective() -> set[int]:
    """Return the numbers of the capabilities that this thread may use now."""
    return in_set("CapEff")


def in_set(name: str) -> set[int]:
    """Return the capabilities in one of the sets that /proc/PID/status has (``CapBnd``, …)."""
    for line in _STATUS.read_text("utf-8", "surrogateescape").splitlines():
        field, _, value = line.partition(":")
        if field == name:
            bits = int(value, 16)
            return {number for number in range(bits.bit_length()) if bits >> number & 1}
    raise LookupError(f"{_STATUS} has no {name}")


def missing_at_start() -> set[Capability]:
    """Return what the daemon needs to be started and this process lacks.

    CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as it does for the kernel.
    """
    there = effective()
    if Capability.CAP_SYS_ADMIN in there:
        there |= {Capability.CAP_BPF, Capability.CAP_PERFMON}
    return set(AT_START) - there


def named(capabilities: set[Capability]) -> str:
    """Return their names, for people."""
    return ", ".join(each.name for each in sorted(capabilities))


class Without:
    """Inside the `with` block this thread cannot use certain capabilities, but still has them."""

    def __init__(self, *capabilities: Capability) -> None:
        self._put_down = set(capabilities)
        self._before: tuple[int, ...] = ()

    def __enter__(self) -> None:
        """Put them down."""
        self._before = _capabilities()
        lower, upper = _halves(self._put_down)
        fields = list(self._before)
        fields[0] &= ~lower
        fields[3] &= ~upper
        _capset(fields)

    def __exit__(self, *_: object) -> None:
        """Take them up again."""
        _capset(list(self._before))


def _set_capabilities(kept: set[Capability]) -> None:
    lower, upper = _halves(kept)
    _capset([lower, lower, 0, upper, upper, 0])


def _halves(capabilities: set[Capability]) -> tuple[int, int]:
    bits = sum(1 << each for each in capabilities)
    return bits & _LOWER, bits >> 32


def _capset(fields: list[int]) -> None:
    header = _CAP_HEADER.pack(_CAPABILITY_VERSION_3, 0)
    if _libc().capset(header, _CAP_DATA.pack(*fields)):
        raise _refused("setting the capabilities")


def _capabilities() -> tuple[int, ...]:
    header = ctypes.create_string_buffer(_CAP_HEADER.pack(_CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(_CAP_DATA.size)
    if _libc().capget(header, data):
        raise _refused("reading the capabilities")
    return _CAP_DATA.unpack(data.raw)


def _prctl(option: int, argument: int, *, doing: str) -> None:
    numbers = [ctypes.c_ulong(each) for each in (argument, 0, 0, 0)]
    if _libc().prctl(option, *numbers):
        raise _refused(doing)


def _refused(doing: str) -> PrivilegesError:
    return PrivilegesError(f"{doing}: {os.strerror(ctypes.get_errno())}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
