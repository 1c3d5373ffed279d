"""A folder of pinned maps and links: what stays in the kernel when the daemon is gone.

    maps/NAME      each map of `layout.SIZES`, the ring buffers, and `about`, which is pinned last
    links/NAME     each program on its hook
    readers/NAME   what lists the maps to whoever may read the file (`readers.py`)

A pinned link keeps its program, and that the maps it uses. So the programs go on recording until
the links' files are removed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

from nfsnitch.adapters.bpf.core_loader import HeldLink, LoadedPrograms
from nfsnitch.adapters.bpf.layout import RING_BUFFERS, SIZES
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.adapters.bpf.modes import VERDICTS
from nfsnitch.core.attach import AttachMode

FILTERS = frozenset(each.program for each in VERDICTS)
_ABOUT = Struct("=IIQQ16s16s32s")
_ABOUT_KEY = Struct("=I").pack(0)
_MAP_TYPE_ARRAY = 2
"""linux/bpf.h, BPF_MAP_TYPE_ARRAY"""
_INFO_BYTES = 256
_MAP_INFO = Struct("=IIII")
"""struct bpf_map_info: type, id, key_size, value_size"""
_LINK_INFO = Struct("=IIIxxxxQ")
"""struct bpf_link_info: type, id, prog_id, of a cgroup's: cgroup_id"""
_LINK_TYPE_CGROUP = 3
_OWN = 0o700


class About(NamedTuple):
    """What pinned programs are; two that are equal may take each other's place."""

    layout_version: int
    netns_cookie: int
    """Of the network namespace in question: its inode number may be another's later."""
    cgroup_id: int
    """Of the cgroup that hooks of a cgroup are on; 0 where there are none to be had."""
    wanted: str
    """The attach mode that was asked for, perhaps `AttachMode.AUTO`."""
    mode: str
    """The one that it became."""
    build: bytes
    """What the programs were made from: 32 bytes of a hash."""

    def packed(self) -> bytes:
        """Return the value of the map ``about``. Its first number will always be the version."""
        texts = self.wanted.encode("ascii"), self.mode.encode("ascii")
        numbers = self.layout_version, 0, self.netns_cookie, self.cgroup_id
        return _ABOUT.pack(*numbers, *texts, self.build)

    @classmethod
    def unpacked(cls, raw: bytes) -> About:
        """Read what `packed` wrote."""
        version, _, netns_cookie, cgroup_id, *names, build = _ABOUT.unpack(raw)
        wanted, mode = (each.rstrip(b"\0").decode("ascii", "replace") for each in names)
        return cls(version, netns_cookie, cgroup_id, wanted, mode, build)


class PinFolder:
    """The pinned objects below one path of a bpf file system."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        """Nothing need be there yet."""
        self._library = library
        self.path = path

    def about(self) -> About | None:
        """Return what is pinned here; None if nothing is, only a part, or something unreadable."""
        try:
            with self._opened("maps", "about") as fd:
                if self._sizes(fd) != (len(_ABOUT_KEY), _ABOUT.size):
                    return None
                raw = BpfMap(self._library, fd, len(_ABOUT_KEY), _ABOUT.size).get(_ABOUT_KEY)
        except BpfError:
            return None
        return None if raw is None else About.unpacked(raw)

    def link_names(self) -> set[str]:
        """Return the names of the links."""
        with suppress(OSError):
            return {entry.name for entry in (self.path / "links").iterdir()}
        return set()

    def has_idle_link(self, cgroup_id: int) -> bool:
        """Whether one of the links has lost its hook, or is on that of another cgroup."""
        for name in self.link_names():
            with self._opened("links", name) as fd:
                kind, _, _, cgroup = _LINK_INFO.unpack_from(self._info(fd))
                if kind == _LINK_TYPE_CGROUP and cgroup != cgroup_id:
                    return True
        return False

    @contextmanager
    def programs(self, mode: AttachMode) -> Iterator[LoadedPrograms]:
        """Open the maps of programs pinned here.

        Raises:
            BpfError: a map is missing, or of another layout than this code.

        """
        with ExitStack() as stack:
            maps: dict[str, Any] = {name: self._map(name, stack) for name in SIZES}
            rings: dict[str, Any] = {
                field: stack.enter_context(self._opened("maps", name))
                for field, name in RING_BUFFERS.items()
            }
            filters = {
                name: stack.enter_context(self._opened("links", name))
                for name in FILTERS & self.link_names()
            }
            how: dict[str, Any] = {"library": self._library, "mode": mode, "why": ""}
            yield LoadedPrograms(**maps, **rings, **how, filters=filters)

    def pin(self, programs: LoadedPrograms, about: About) -> None:
        """Pin maps and links, and leave these to the file system alone.

        Raises:
            BpfError, OSError: it was refused; what had been pinned is gone again, and the links are
                as they were.

        """
        try:
            for folder in ("", "maps", "links", "readers"):
                (self.path / folder).mkdir(mode=_OWN, parents=True, exist_ok=True)
            for name in SIZES:
                self.pin_one(getattr(programs, name).fileno(), "maps", name)
            for field, name in RING_BUFFERS.items():
                self.pin_one(getattr(programs, field), "maps", name)
            for link in programs.links:
                self.pin_one(link.fileno(), "links", link.name)
            self._pin_about(about)
        except (BpfError, OSError):
            self.remove()
            raise
        for link in programs.links:
            link.let_go()

    def pin_link(self, link: HeldLink, kind: str) -> Path:
        """Pin a link of any other kind, leave it to the file system alone, and return its path."""
        path = self.pin_one(link.fileno(), kind, link.name)
        link.let_go()
        return path

    def pin_one(self, fd: int, kind: str, name: str) -> Path:
        """Pin one object, and return its path."""
        path = self.path / kind / name
        self._library.checked("bpf_obj_pin", fd, os.fsencode(path), doing=f"pinning {path}")
        return path

    def remove(self) -> None:
        """Remove all; programs are off their hooks then, as far as the kernel does that at once.

        Raises:
            OSError: something else is in there, or it may not be removed.

        """
        # Incomplete from here on; and what records goes before what says that a socket is closed.
        self._unlink("maps", "about")
        for name in sorted(self.link_names(), key=_is_release):
            with suppress(BpfError), self._opened("links", name) as fd:
                self._library.function("bpf_link_detach")(fd)  # links of a cgroup; at once
            self._unlink("links", name)
        for kind in ("readers", "links", "maps"):
            folder = self.path / kind
            if folder.is_dir():
                for entry in tuple(folder.iterdir()):
                    entry.unlink(missing_ok=True)
                folder.rmdir()
        with suppress(FileNotFoundError):
            self.path.rmdir()

    def become(self, path: Path) -> None:
        """Take the place of the folder *path*, which must be gone."""
        self.path.rename(path)
        self.path = path

    def _unlink(self, kind: str, name: str) -> None:
        (self.path / kind / name).unlink(missing_ok=True)

    def _pin_about(self, about: About) -> None:
        sizes = len(_ABOUT_KEY), _ABOUT.size, 1
        fd = self._library.checked(
            "bpf_map_create", _MAP_TYPE_ARRAY, b"about", *sizes, None, doing="making the map about"
        )
        try:
            BpfMap(self._library, fd, *sizes[:2]).put(_ABOUT_KEY, about.packed())
            self.pin_one(fd, "maps", "about")
        finally:
            os.close(fd)

    def _map(self, name: str, stack: ExitStack) -> BpfMap:
        fd = stack.enter_context(self._opened("maps", name))
        if self._sizes(fd) != SIZES[name]:
            raise BpfError(f"the pinned map {name} is of another layout")
        return BpfMap(self._library, fd, *SIZES[name])

    @contextmanager
    def _opened(self, kind: str, name: str) -> Iterator[int]:
        path = self.path / kind / name
        fd = self._library.checked("bpf_obj_get", os.fsencode(path), doing=f"opening {path}")
        try:
            yield fd
        finally:
            os.close(fd)

    def _sizes(self, fd: int) -> tuple[int, int]:
        _, _, key_bytes, value_bytes = _MAP_INFO.unpack_from(self._info(fd))
        return key_bytes, value_bytes

    def _info(self, fd: int) -> bytes:
        return info(self._library, fd)


def info(library: Libbpf, fd: int) -> bytes:
    """Return what the kernel says of a map or link (``struct bpf_map_info``, ``bpf_link_info``)."""
    buffer, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
    library.checked(
        "bpf_obj_get_info_by_fd", fd, buffer, ctypes.byref(size), doing="asking what is pinned"
    )
    return buffer.raw


def _is_release(name: str) -> bool:
    return name.endswith("_release")
