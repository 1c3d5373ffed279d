"""Puts loaded programs on their hooks, by descriptors alone: whoever loaded them, and however."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters.bpf.core_loader import EVERY_PROCESS, UPROBE_AT_RETURN
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.libc_places import places
from nfsnitch.adapters.bpf.object_file import ProgramSpec
from nfsnitch.adapters.bpf.perf_rights import probes_are_for

_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
_UPROBE_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
_AT_RETURN = 1
"""Bit of a uprobe event's configuration (/sys/bus/event_source/devices/uprobe/format/retprobe)."""
_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241}
_BPF_PERF_EVENT = 41
"""``enum bpf_attach_type``"""
_BPF_PROG_TYPE_KPROBE = 2
_PERF_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408


class _PerfEvent(ctypes.Structure):
    """``struct perf_event_attr`` of perf_event_open(2), in its sixth version."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("period", ctypes.c_uint64 * 3),
        ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32 * 2),
        ("where", ctypes.c_char_p),
        ("offset", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


class Hooked:
    """A program on a hook; it comes off when the descriptor is closed and nothing else holds it."""

    def __init__(self, fd: int, name: str) -> None:
        """*name* tells it from the others of its attach mode."""
        self._fd = fd
        self.name = name

    def fileno(self) -> int:
        """Return the descriptor of the link."""
        return self._fd

    def let_go(self) -> None:
        """Close the descriptor; a link that is pinned stays on its hook."""
        self.detach()

    def detach(self) -> None:
        """Close the descriptor; once is enough."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def on_cgroup(library: Libbpf, spec: ProgramSpec, program_fd: int, cgroup_fd: int) -> Hooked:
    """Put a program on the hook of a cgroup that its section names.

    Raises:
        BpfError: the kernel refused.

    """
    link = library.checked(
        "bpf_link_create",
        program_fd,
        cgroup_fd,
        spec.attach_type,
        None,
        doing=f"attaching {spec.name} to the cgroup",
    )
    return Hooked(link, spec.name)


def on_kernel(
    library: Libbpf, spec: ProgramSpec, program_fd: int, functions: tuple[str, ...]
) -> Iterator[Hooked]:
    """Put a program where its section says, or a kprobe on each of *functions*.

    Raises:
        BpfError: the kernel refused.

    """
    if spec.kind != _BPF_PROG_TYPE_KPROBE:
        doing = f"attaching {spec.name}"
        link = library.checked("bpf_raw_tracepoint_open", None, program_fd, doing=doing)
        yield Hooked(link, spec.name)
        return
    for function in functions or (spec.target,):
        name = f"{spec.name}-{function}" if functions else spec.name
        yield Hooked(_kprobe(library, spec.name, program_fd, function), name)


def on_libc(
    library: Libbpf, spec: ProgramSpec, program_fd: int, functions: tuple[str, ...]
) -> Iterator[Hooked]:
    """Put a program on functions of the C library, in every process.

    Raises:
        BpfError: the kernel refused, or the library is not to be found (`LibcError`).

    """
    at_return = spec.section.encode() == UPROBE_AT_RETURN
    found = places(functions)
    for function in functions:
        doing = f"attaching {spec.name} to {function} of {found[function].path}"
        event = _PerfEvent(
            kind=_kind(_UPROBE_PMU, "uprobes", doing),
            size=ctypes.sizeof(_PerfEvent),
            config=_AT_RETURN if at_return else 0,
            where=os.fsencode(found[function].path),
            offset=found[function].offset_bytes,
        )
        link = _linked(library, program_fd, _opened(event, doing), doing)
        yield Hooked(link, f"{spec.name}-{function}")


def _kprobe(library: Libbpf, name: str, program_fd: int, function: str) -> int:
    doing = f"attaching {name} to {function}"
    event = _PerfEvent(
        kind=_kind(_KPROBE_PMU, "kprobes", doing),
        size=ctypes.sizeof(_PerfEvent),
        where=function.encode(),
    )
    return _linked(library, program_fd, _opened(event, doing), doing)


def _linked(library: Libbpf, program_fd: int, event: int, doing: str) -> int:
    """Return what holds a program on a perf event, which is taken over."""
    link: int = library.function("bpf_link_create")(program_fd, event, _BPF_PERF_EVENT, None)
    if link >= 0:
        os.close(event)
        return link
    if -link != errno.EINVAL:
        os.close(event)
        raise BpfError(f"{doing}: {os.strerror(-link)}")
    try:  # before Linux 5.15 the event itself is what holds the program
        fcntl.ioctl(event, _IOC_SET_BPF, program_fd)
        fcntl.ioctl(event, _IOC_ENABLE, 0)
    except OSError as problem:
        os.close(event)
        raise BpfError(f"{doing}: {problem.strerror}") from problem
    return event


def _kind(pmu: Path, what: str, doing: str) -> int:
    try:
        return int(pmu.read_text("ascii"))
    except (OSError, ValueError) as problem:
        raise BpfError(f"{doing}: the kernel has no {what} ({pmu})") from problem


def _opened(event: _PerfEvent, doing: str) -> int:
    with suppress(KeyError):
        number = _SYS_PERF_EVENT_OPEN[os.uname().machine]
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        numbers = [ctypes.c_long(each) for each in (EVERY_PROCESS, 0, -1, _PERF_FLAG_FD_CLOEXEC)]
        fd: int = libc.syscall(ctypes.c_long(number), ctypes.byref(event), *numbers)
        if fd < 0:
            number = ctypes.get_errno()
            why = probes_are_for() if number == errno.EACCES else ""
            raise BpfError(f"{doing}: {os.strerror(number)}{why}")
        return fd
    raise BpfError(f"{doing}: probes by number are not known for {os.uname().machine}")
