"""The CO-RE loader: an object built once, fitted to the running kernel by libbpf."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfsnitch.adapters.bpf.layout import SIZES
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf, RingBuffer, SampleCallback
from nfsnitch.adapters.bpf.map import BpfMap

CGROUP_PROGRAMS = (
    "nfsnitch_sock_release",
    "nfsnitch_sock_create",
    "nfsnitch_connect4",
    "nfsnitch_connect6",
    "nfsnitch_sendmsg4",
    "nfsnitch_sendmsg6",
    "nfsnitch_sockops",
)
"""`cgroup` mode. The release hook comes first: what is recorded can then also go."""


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

    def releases(self, on_sample: SampleCallback) -> RingBuffer:
        """Open the ring buffer of closed sockets."""
        return RingBuffer(self.library, self.releases_fd, on_sample)


@contextmanager
def attached(object_file: Path, cgroup: Path) -> Iterator[LoadedPrograms]:
    """Load the object and attach `cgroup` mode's programs to *cgroup*; detach them at the end.

    The attachments are links (`BPF_LINK_CREATE`): the kernel detaches them, too, when this process
    is gone for whatever reason. Other programs on the cgroup stay as they are.

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
        library.checked("bpf_object__load", pointer, doing="loading the eBPF programs")
        loaded = _maps(library, pointer)
        for program in CGROUP_PROGRAMS:
            link = _attach(library, pointer, program, cgroup)
            stack.callback(library.function("bpf_link__destroy"), link)
        yield loaded


def _attach(library: Libbpf, pointer: int, name: str, cgroup: Path) -> Any:  # noqa: ANN401
    program = library.checked(
        "bpf_object__find_program_by_name", pointer, name.encode(), doing=f"finding {name}"
    )
    if not (cgroup / "cgroup.procs").exists():
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


def _maps(library: Libbpf, pointer: int) -> LoadedPrograms:
    maps = {name: _map(library, pointer, name) for name in SIZES}
    releases = library.checked(
        "bpf_object__find_map_by_name", pointer, b"releases", doing="finding the map releases"
    )
    releases_fd = library.function("bpf_map__fd")(releases)
    return LoadedPrograms(**maps, library=library, releases_fd=releases_fd)


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
