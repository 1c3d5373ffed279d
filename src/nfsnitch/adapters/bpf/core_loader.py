"""The CO-RE loader: an object built once, fitted to the running kernel by libbpf."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nfsnitch.adapters.bpf.layout import SIZES
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf, RingBuffer, SampleCallback
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.core.attach import AttachMode

_PERF_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_PERF_FOR_NOBODY = 3


class Attachment(NamedTuple):
    """A program of the object, and what it is attached to."""

    program: str
    to_cgroup: bool = False
    functions: tuple[str, ...] = ()
    """The kernel functions to put a kprobe on; none: the program's section says what it is for."""


@dataclass(frozen=True, slots=True)
class LoadedPrograms:
    """The attached programs' maps."""

    owners: BpfMap
    images: BpfMap
    flows: BpfMap
    ports: BpfMap
    raw_sockets: BpfMap
    counters: BpfMap
    library: Libbpf
    releases_fd: int
    mode: AttachMode
    """Never `AttachMode.AUTO`."""
    why: str
    """Why this mode and none of the better ones, for people."""

    def releases(self, on_sample: SampleCallback) -> RingBuffer:
        """Open the ring buffer of closed sockets."""
        return RingBuffer(self.library, self.releases_fd, on_sample)


@contextmanager
def loaded(
    object_file: Path, mode: AttachMode, attachments: Sequence[Attachment], cgroup: Path | None
) -> Iterator[LoadedPrograms]:
    """Load the programs of *attachments* and attach them in this order; detach them at the end.

    The attachments are links (`BPF_LINK_CREATE`): the kernel detaches them, too, when this process
    is gone for whatever reason. Other programs on the same hooks stay as they are. *cgroup* is the
    directory for those attachments that need one.

    Raises:
        BpfError: the kernel refused the object or an attachment, or the object is of another
            layout than this code.

    """
    library = Libbpf()
    with ExitStack() as stack:
        pointer = library.checked(
            "bpf_object__open_file", os.fsencode(object_file), None, doing=f"opening {object_file}"
        )
        stack.callback(library.function("bpf_object__close"), pointer)
        _switch_on(library, pointer, {each.program for each in attachments})
        library.checked("bpf_object__load", pointer, doing="loading the eBPF programs")
        programs = _maps(library, pointer, mode)
        for attachment in attachments:
            for link in _attach(library, pointer, attachment, cgroup):
                stack.callback(library.function("bpf_link__destroy"), link)
        yield programs


def _switch_on(library: Libbpf, pointer: int, wanted: Iterable[str]) -> None:
    """Have libbpf load the *wanted* programs and no others."""
    program = None
    while program := library.function("bpf_object__next_program")(pointer, program):
        name = library.function("bpf_program__name")(program).decode()
        library.checked(
            "bpf_program__set_autoload", program, name in wanted, doing=f"choosing {name}"
        )


def _attach(
    library: Libbpf, pointer: int, attachment: Attachment, cgroup: Path | None
) -> Iterator[Any]:
    name = attachment.program
    program = library.checked(
        "bpf_object__find_program_by_name", pointer, name.encode(), doing=f"finding {name}"
    )
    if attachment.to_cgroup:
        yield _attach_to_cgroup(library, program, name, cgroup)
        return
    if not attachment.functions:
        yield library.checked(
            "bpf_program__attach", program, doing=f"attaching {name}", forbidden=_probes_are_for()
        )
    for function in attachment.functions:
        yield library.checked(
            "bpf_program__attach_kprobe",
            program,
            False,  # noqa: FBT003  on entry to the function, not on return from it
            function.encode(),
            doing=f"attaching {name} to {function}",
            forbidden=_probes_are_for(),
        )


def _probes_are_for() -> str:
    """Say whom Debian lets have kernel probes, if not everybody who may have eBPF programs.

    Its kernels know a third level of kernel.perf_event_paranoid, which wants more than CAP_PERFMON.
    """
    try:
        level = int(_PERF_PARANOID.read_text("ascii"))
    except (OSError, ValueError):
        return ""
    if level < _PERF_FOR_NOBODY:
        return ""
    return f" (kernel.perf_event_paranoid = {level}: set it to 2, or start with CAP_SYS_ADMIN)"


def _attach_to_cgroup(library: Libbpf, program: int, name: str, cgroup: Path | None) -> Any:  # noqa: ANN401
    if cgroup is None or not (cgroup / "cgroup.procs").exists():
        raise BpfError(f"{cgroup} is not the directory of a cgroup v2")
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise BpfError(f"the cgroup cannot be opened: {problem}") from problem
    try:
        return library.checked(
            "bpf_program__attach_cgroup", program, directory, doing=f"attaching {name} to {cgroup}"
        )
    finally:
        os.close(directory)


def _maps(library: Libbpf, pointer: int, mode: AttachMode) -> LoadedPrograms:
    maps = {name: _map(library, pointer, name) for name in SIZES}
    releases = library.checked(
        "bpf_object__find_map_by_name", pointer, b"releases", doing="finding the map releases"
    )
    releases_fd = library.function("bpf_map__fd")(releases)
    return LoadedPrograms(**maps, library=library, releases_fd=releases_fd, mode=mode, why="")


def _map(library: Libbpf, pointer: int, name: str) -> BpfMap:
    found = library.checked(
        "bpf_object__find_map_by_name", pointer, name.encode(), doing=f"finding the map {name}"
    )
    there = (
        library.function("bpf_map__key_size")(found),
        library.function("bpf_map__value_size")(found),
    )
    if there != SIZES[name]:
        raise BpfError(
            f"map {name} has keys and values of {there} bytes, this program expects {SIZES[name]}: "
            "the eBPF object is of another version; build it again (make setup)"
        )
    return BpfMap(library, library.function("bpf_map__fd")(found), *there)
