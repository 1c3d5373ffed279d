"""The CO-RE loader: an object built once, fitted to the running kernel by libbpf."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nfsnitch.adapters.bpf.blocks import Blocks, blocks
from nfsnitch.adapters.bpf.layout import CACHED, COOKIE, RING_BUFFERS, SIZES
from nfsnitch.adapters.bpf.libbpf import (
    BpfError,
    Libbpf,
    RingBuffer,
    SampleCallback,
)
from nfsnitch.adapters.bpf.libc_places import places
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.adapters.bpf.perf_rights import probes_are_for
from nfsnitch.core.attach import AttachMode

UPROBE_AT_RETURN = b"uretprobe"
"""The section of programs that are run when a function of the C library returns."""
EVERY_PROCESS = -1
"""In place of a process id: perf_event_open(2)."""


class Attachment(NamedTuple):
    """A program of the object, and what it is attached to."""

    program: str
    to_cgroup: bool = False
    functions: tuple[str, ...] = ()
    """The kernel functions to put a kprobe on; none: the program's section says what it is for."""
    of_libc: tuple[str, ...] = ()
    """The functions of the C library to put a uprobe on, or a uretprobe, as the section says."""
    for_netfilter: bool = False
    """It is put on no hook: a rule of netfilter names the file that it is pinned at."""

    @property
    def links(self) -> tuple[str, ...]:
        """Return the names of its links."""
        functions = self.functions or self.of_libc
        if not functions:
            return (self.program,)
        return tuple(f"{self.program}-{function}" for function in functions)


class HeldLink(Protocol):
    """A program on its hook, whichever loader has put it there."""

    @property
    def name(self) -> str:
        """Return what tells it from the other links of its mode: see `Attachment.links`."""

    def fileno(self) -> int:
        """Return its descriptor."""

    def let_go(self) -> None:
        """Close the descriptor; a link that is pinned stays on its hook."""


class Filter:
    """A program that only rules of netfilter run; it is held as long as what it was loaded with."""

    def __init__(self, fd: int, name: str) -> None:
        """*fd* is the program's, and stays somebody else's to close."""
        self._fd = fd
        self.name = name

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def let_go(self) -> None:
        """Do nothing: where it is pinned, it stays."""


class Link:
    """A program on its hook, until `detach`; pinned and let go of, it stays there."""

    def __init__(self, library: Libbpf, pointer: int, name: str) -> None:
        """*name* tells it from the other links of its mode."""
        self._library, self._pointer = library, pointer
        self.name = name

    def fileno(self) -> int:
        """Return its descriptor."""
        fd: int = self._library.function("bpf_link__fd")(self._pointer)
        return fd

    def let_go(self) -> None:
        """Close the descriptor and leave the hook as it is; `detach` does nothing any more."""
        os.close(self.fileno())
        self._library.function("bpf_link__disconnect")(self._pointer)
        self.detach()

    def detach(self) -> None:
        """Take the program off its hook; once is enough."""
        if self._pointer:
            self._library.function("bpf_link__destroy")(self._pointer)
            self._pointer = 0


@dataclass(frozen=True, slots=True)
class LoadedPrograms:
    """The attached programs' maps."""

    owners: BpfMap
    images: BpfMap
    flows: BpfMap
    crossings: BpfMap
    ports: BpfMap
    raw_sockets: BpfMap
    counters: BpfMap
    opening_config: BpfMap
    opening_rules: BpfMap
    opening_numbers: BpfMap
    opening_texts: BpfMap
    verdict_config: BpfMap
    verdicts: BpfMap
    passes: BpfMap
    library: Libbpf
    releases_fd: int
    openings_fd: int
    names_fd: int
    cached_fd: int
    mode: AttachMode
    """Never `AttachMode.AUTO`."""
    why: str
    """Why this mode and none of the better ones, for people."""
    filters: Mapping[str, int] = field(default_factory=dict)
    """The descriptors of the programs that rules of netfilter ask, by name."""
    links: tuple[HeldLink, ...] = ()
    """In the order in which they were attached."""
    dns_problem: str | None = None
    """Why no questions and answers of DNS are seen; None: they are."""
    libc_problem: str | None = None
    """Why nothing is seen of what the C library is asked; None: it is."""

    def releases(self) -> Blocks:
        """Open the ring buffer of closed sockets."""
        return blocks(self.library, self.releases_fd, COOKIE.size)

    def openings(self, on_sample: SampleCallback) -> RingBuffer:
        """Open the ring buffer of sockets past netfilter."""
        return RingBuffer(self.library, self.openings_fd, on_sample)

    def names(self, on_sample: SampleCallback) -> RingBuffer:
        """Open the ring buffer of names asked for and answered."""
        return RingBuffer(self.library, self.names_fd, on_sample)

    def cached(self) -> Blocks:
        """Open the ring buffer of flows that the kernel has answered by itself."""
        return blocks(self.library, self.cached_fd, CACHED.size)


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
        links: list[HeldLink] = []
        for attachment in attachments:
            if attachment.for_netfilter:
                links.append(_filter(library, pointer, attachment.program))
                continue
            for name, link in _attach(library, pointer, attachment, cgroup):
                held = Link(library, link, name)
                links.append(held)
                stack.callback(held.detach)
        yield replace(programs, links=tuple(links), filters=filters_among(links))


def filters_among(links: Iterable[HeldLink]) -> dict[str, int]:
    """Return the descriptors, by name, of those that rules of netfilter ask."""
    return {each.name: each.fileno() for each in links if isinstance(each, Filter)}


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
) -> Iterator[tuple[str, Any]]:
    """Yield each link with its name, one of `Attachment.links`."""
    name = attachment.program
    program = _program(library, pointer, name)
    if attachment.to_cgroup:
        yield name, _attach_to_cgroup(library, program, name, cgroup)
        return
    if attachment.of_libc:
        yield from _attach_to_libc(library, program, attachment)
        return
    if not attachment.functions:
        yield (
            name,
            library.checked(
                "bpf_program__attach",
                program,
                doing=f"attaching {name}",
                forbidden=probes_are_for(),
            ),
        )
    for function, link_name in zip(attachment.functions, attachment.links, strict=False):
        link = library.checked(
            "bpf_program__attach_kprobe",
            program,
            False,  # noqa: FBT003  on entry to the function, not on return from it
            function.encode(),
            doing=f"attaching {name} to {function}",
            forbidden=probes_are_for(),
        )
        yield link_name, link


def _program(library: Libbpf, pointer: int, name: str) -> Any:  # noqa: ANN401
    return library.checked(
        "bpf_object__find_program_by_name", pointer, name.encode(), doing=f"finding {name}"
    )


def _filter(library: Libbpf, pointer: int, name: str) -> Filter:
    return Filter(library.function("bpf_program__fd")(_program(library, pointer, name)), name)


def _attach_to_libc(
    library: Libbpf, program: int, attachment: Attachment
) -> Iterator[tuple[str, Any]]:
    section: bytes = library.function("bpf_program__section_name")(program)
    found = places(attachment.of_libc)
    for name, link_name in zip(attachment.of_libc, attachment.links, strict=True):
        link = library.checked(
            "bpf_program__attach_uprobe",
            program,
            section == UPROBE_AT_RETURN,
            EVERY_PROCESS,
            os.fsencode(found[name].path),
            found[name].offset_bytes,
            doing=f"attaching {attachment.program} to {name} of {found[name].path}",
            forbidden=probes_are_for(),
        )
        yield link_name, link


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
    maps: dict[str, Any] = {name: _map(library, pointer, name) for name in SIZES}
    rings: dict[str, Any] = {
        field: _descriptor(library, pointer, name) for field, name in RING_BUFFERS.items()
    }
    return LoadedPrograms(
        **maps,
        library=library,
        **rings,
        mode=mode,
        why="",
    )


def _descriptor(library: Libbpf, pointer: int, name: str) -> int:
    found = library.checked(
        "bpf_object__find_map_by_name", pointer, name.encode(), doing=f"finding the map {name}"
    )
    descriptor: int = library.function("bpf_map__fd")(found)
    return descriptor


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
