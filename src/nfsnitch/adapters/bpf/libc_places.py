"""Where the functions of the C library are, for probes on them.

The library is the one that this process has itself, so the one of most programs in its mount
namespace. It is found by asking the dynamic linker where a function is and the kernel which file is
mapped there (``/proc/PID/maps``, proc(5)): no path is guessed, no file parsed.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters import privileges
from nfsnitch.adapters.bpf.libbpf import BpfError

_MAPS = Path("/proc/self/maps")
_UPROBE_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r.xp ([0-9a-f]+) \S+ (\d+) +(/.*)")
_FIXED_FROM = {(6, 12): 20, (6, 13): 8}
"""Kernel → the stable release of it from which `sandbox_kills` is surely over."""
_POINTER_BYTES = 8
_COMPARED = slice(16, 48)
"""Bytes of a function that are compared with the file: its first ones may be a probe's."""


class LibcError(BpfError):
    """The C library's functions cannot be watched here; the message says why."""


class Place(NamedTuple):
    """A function in a file."""

    path: Path
    offset_bytes: int


class _Mapping(NamedTuple):
    begin: int
    end: int
    offset_bytes: int
    path: str


def places(functions: Iterable[str]) -> dict[str, Place]:
    """Return where each of *functions* is.

    Raises:
        LibcError: one cannot be found, or its file is another one by now; or the kernel cannot
            watch it without harm.

    """
    _look_first()
    mappings = _mappings()
    return {name: _place(name, mappings) for name in functions}


def identity() -> str:
    """Return what is another text for another C library; empty: there is none to be watched."""
    try:
        path = places(("getaddrinfo",))["getaddrinfo"].path
        status = path.stat()
    except (LibcError, OSError):
        return ""
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def sandbox_kills(machine: str, release: str) -> bool:
    """Whether a probe on a function's return ends programs that a seccomp filter confines.

    So it is on x86-64 from Linux 6.11 on, where such a probe became a system call of its own
    (arch/x86/kernel/uprobes.c), until seccomp let that pass (kernel/seccomp.c, 6.14). The stable
    releases with the fix are taken from a bit after it came.
    """
    numbers = [int(each) for each in re.findall(r"\d+", release)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    if machine != "x86_64" or not (6, 11) <= (major, minor) < (6, 14):
        return False
    return (major, minor) not in _FIXED_FROM or patch < _FIXED_FROM[major, minor]


def _look_first() -> None:
    if ctypes.sizeof(ctypes.c_void_p) != _POINTER_BYTES:
        raise LibcError("it is made for programs of 64 bits")
    system = os.uname()
    if sandbox_kills(system.machine, system.release):
        raise LibcError(
            f"kernel {system.release} would end sandboxed programs for it: use 6.14 or later,"
            " 6.12.20 or 6.13.8"
        )
    if not _UPROBE_PMU.exists():
        raise LibcError(f"the kernel has no uprobes ({_UPROBE_PMU})")
    if privileges.Capability.CAP_SYS_ADMIN not in privileges.effective():
        # perf_uprobe_event_init() in kernel/events/core.c: CAP_PERFMON is not enough.
        raise LibcError("it takes CAP_SYS_ADMIN at the start, and this process lacks it")


def _mappings() -> list[_Mapping]:
    try:
        lines = _MAPS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError as problem:
        raise LibcError(f"{_MAPS} cannot be read: {problem.strerror}") from problem
    found = [match for match in map(_LINE.fullmatch, lines) if match]
    return [
        _Mapping(int(match[1], 16), int(match[2], 16), int(match[3], 16), match[5])
        for match in found
    ]


def _place(name: str, mappings: list[_Mapping]) -> Place:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError as problem:
        raise LibcError(f"the C library has no {name}") from problem
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    for each in mappings:
        if each.begin <= address < each.end:
            place = Place(Path(each.path), address - each.begin + each.offset_bytes)
            _compare(place, ctypes.string_at(address, _COMPARED.stop))
            return place
    raise LibcError(f"{name} is in no file that {_MAPS} names")


def _compare(place: Place, code: bytes) -> None:
    """Refuse a file that has been replaced since it was mapped."""
    try:
        with place.path.open("rb") as file:
            raw = os.pread(file.fileno(), _COMPARED.stop, place.offset_bytes)
    except OSError as problem:
        raise LibcError(f"{place.path} cannot be read: {problem.strerror}") from problem
    if raw[_COMPARED] != code[_COMPARED]:
        raise LibcError(f"{place.path} has been replaced since this process was started")
