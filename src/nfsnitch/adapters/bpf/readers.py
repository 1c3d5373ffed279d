"""Files that list the maps, pinned beside them: for whoever may read a file, without capabilities.

Each is an iterator (``bpf_iter``, kernel/bpf/map_iter.c): opened, it goes through its map once, in
the reader's own time. Reading is all it allows; no bpf() call is made.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from nfsnitch.adapters.bpf.core_loader import Link, LoadedPrograms
from nfsnitch.adapters.bpf.layout import LAYOUT_VERSION, ROW_HEAD, SIZES
from nfsnitch.adapters.bpf.libbpf import Libbpf
from nfsnitch.adapters.bpf.pins import PinFolder

KIND = "readers"
LISTED = ("owners", "images")
"""Maps that can be listed; the files have these names."""

_FOLDERS_MODE, _MODE = 0o710, 0o440


class _IterAttachOpts(ctypes.Structure):
    """``struct bpf_iter_attach_opts``; *info* is ``union bpf_iter_link_info``: a map's fd."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("info", ctypes.c_void_p),
        ("info_bytes", ctypes.c_uint32),
    )


class OtherLayoutError(Exception):
    """What is listed cannot be read by this version; the message says what to do."""


def reader_file(place: Path, name: str) -> Path:
    """Return the file that lists a map of `LISTED`, of what is pinned at *place*."""
    return place / KIND / name


def pin_readers(
    folder: PinFolder, programs: LoadedPrograms, object_file: Path, gid: int | None
) -> None:
    """Pin what lists the maps of *programs*, in place of what may be there, for root and a group.

    Raises:
        BpfError: the kernel refused the programs.
        OSError: the files cannot be had, or not given to the group.

    """
    library = programs.library
    with ExitStack() as stack:
        pointer = library.checked(
            "bpf_object__open_file", os.fsencode(object_file), None, doing=f"opening {object_file}"
        )
        stack.callback(library.function("bpf_object__close"), pointer)
        library.checked("bpf_object__load", pointer, doing="loading the readers")
        for name in LISTED:
            path = reader_file(folder.path, name)
            path.unlink(missing_ok=True)
            map_fd = getattr(programs, name).fileno()
            folder.pin_link(_attached(library, pointer, name, map_fd), KIND)
            if gid is not None:
                os.chown(path, -1, gid)
            path.chmod(_MODE)
    for place in (folder.path / KIND, folder.path):
        if gid is not None:
            os.chown(place, -1, gid)
        place.chmod(_FOLDERS_MODE)


def rows(file: BinaryIO, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the packed keys and values that a reader's *file* lists of the map *name*.

    Raises:
        OtherLayoutError: it is of another version.
        OSError: the kernel refused to be read.

    """
    key_bytes, value_bytes = SIZES[name]
    expected = (LAYOUT_VERSION, ROW_HEAD.size + key_bytes + value_bytes)
    while head := file.read(ROW_HEAD.size):
        if len(head) != ROW_HEAD.size or ROW_HEAD.unpack(head) != expected:
            raise OtherLayoutError(
                "what is pinned is of another version of nfsnitch: use the daemon's own, or restart"
                " the daemon"
            )
        row = file.read(key_bytes + value_bytes)
        if len(row) != key_bytes + value_bytes:
            raise OtherLayoutError("the list of a map ends in the middle of an entry")
        yield row[:key_bytes], row[key_bytes:]


def _attached(library: Libbpf, pointer: int, name: str, map_fd: int) -> Link:
    program = library.checked(
        "bpf_object__find_program_by_name",
        pointer,
        f"nfsnitch_list_{name}".encode(),
        doing=f"finding what lists {name}",
    )
    info = ctypes.c_uint32(map_fd)
    options = _IterAttachOpts(
        ctypes.sizeof(_IterAttachOpts), ctypes.addressof(info), ctypes.sizeof(info)
    )
    link = library.checked(
        "bpf_program__attach_iter",
        program,
        ctypes.byref(options),
        doing=f"attaching what lists {name}",
    )
    return Link(library, link, name)
