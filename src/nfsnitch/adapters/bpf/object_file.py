"""What the compiled object says of its maps and programs, without loading any of it.

The other loader takes these from here: so there is one definition of a map, and one place (the
section of a program) that says what a program is for. See libbpf.h and ``linux/btf.h``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.bpf.libbpf import Libbpf

_BTF_TYPE = Struct("=III")
"""``struct btf_type``: name, kind and number of members, type referred to."""
_KIND_FUNC = 12


class MapSpec(NamedTuple):
    """A map, as maps.h defines it."""

    name: str
    kind: int
    """``enum bpf_map_type``"""
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int


class ProgramSpec(NamedTuple):
    """A program, as its section says."""

    name: str
    section: str
    kind: int
    """``enum bpf_prog_type``"""
    attach_type: int
    """``enum bpf_attach_type``"""

    @property
    def target(self) -> str:
        """Return the kernel's function or hook that the section names; empty: none."""
        return self.section.partition("/")[2]


class Function(NamedTuple):
    """A function that has not been put into others."""

    type_id: int
    """In the types of the object."""
    arguments: int


class ObjectFile:
    """An open object; `opened` makes one."""

    def __init__(self, library: Libbpf, pointer: int) -> None:
        self._library, self._pointer = library, pointer

    def maps(self) -> Iterator[MapSpec]:
        """Yield the maps, always in the same order."""
        ask, found = self._library.function, None
        while found := ask("bpf_object__next_map")(self._pointer, found):
            name = ask("bpf_map__name")(found).decode()
            if "." in name:  # .rodata and the like, which bcc cannot have
                continue
            sizes = ask("bpf_map__key_size")(found), ask("bpf_map__value_size")(found)
            most, flags = ask("bpf_map__max_entries")(found), ask("bpf_map__map_flags")(found)
            yield MapSpec(name, ask("bpf_map__type")(found), *sizes, most, flags)

    def programs(self) -> Iterator[ProgramSpec]:
        """Yield the programs, always in the same order."""
        ask, found = self._library.function, None
        while found := ask("bpf_object__next_program")(self._pointer, found):
            yield ProgramSpec(
                ask("bpf_program__name")(found).decode(),
                ask("bpf_program__section_name")(found).decode(),
                ask("bpf_program__type")(found),
                ask("bpf_program__expected_attach_type")(found),
            )

    def functions(self) -> dict[str, Function]:
        """Return the programs and subprograms by name."""
        types = self._library.function("bpf_object__btf")(self._pointer)
        found = {}
        for number in range(1, self._library.function("btf__type_cnt")(types)):
            name_at, info, prototype = self._type(types, number)
            if info >> 24 & 0x1F == _KIND_FUNC:
                name = self._library.function("btf__name_by_offset")(types, name_at).decode()
                found[name] = Function(number, self._type(types, prototype)[1] & 0xFFFF)
        return found

    def types_fd(self) -> int:
        """Give the kernel the types, and return the descriptor, which lives as long as the object.

        Raises:
            BpfError: it does not take them.

        """
        types = self._library.function("bpf_object__btf")(self._pointer)
        self._library.checked("btf__load_into_kernel", types, doing="loading the types")
        descriptor: int = self._library.function("btf__fd")(types)
        return descriptor

    def _type(self, types: int, number: int) -> tuple[int, int, int]:
        address = self._library.function("btf__type_by_id")(types, number)
        name_at, info, other = _BTF_TYPE.unpack(ctypes.string_at(address, _BTF_TYPE.size))
        return name_at, info, other


@contextmanager
def opened(library: Libbpf, path: Path) -> Iterator[ObjectFile]:
    """Open an object.

    Raises:
        BpfError: it cannot be read, or is none.

    """
    pointer = library.checked(
        "bpf_object__open_file", os.fsencode(path), None, doing=f"opening {path}"
    )
    try:
        yield ObjectFile(library, pointer)
    finally:
        library.function("bpf_object__close")(pointer)
