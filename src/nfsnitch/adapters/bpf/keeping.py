"""Programs that outlive the daemon: pinned, taken over by the next one, or replaced by its own.

What is pinned for a network namespace belongs to whoever has the `InstanceLock` of it, so none of
this happens twice at once. Two folders make it safe to be killed at any moment: programs that take
the place of others are pinned under another name, and get the right one when the others are gone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.bpf import bpffs, libc_places
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import LAYOUT_VERSION
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.migration import migrate
from nfsnitch.adapters.bpf.modes import (
    FORWARDED,
    PROGRAMS,
    VERDICTS,
    attached,
    root_cgroup,
    see_hooks_run,
)
from nfsnitch.adapters.bpf.pins import About, PinFolder
from nfsnitch.adapters.bpf.readers import LISTED, reader_file
from nfsnitch.adapters.bpf.sights import all_sights, problems_of
from nfsnitch.adapters.sha256 import sha256
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.loader import Loader

_NEW = "-new"
_PASSABLE = 0o711
"""The group goes on from there; what is in it, nobody but root can list."""
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where programs are pinned, and for which network namespace."""

    path: Path
    netns_cookie: int


class Wish(NamedTuple):
    """What programs there should be (see `modes.attached`)."""

    object_file: Path
    cgroup: Path | None = None
    mode: AttachMode = AttachMode.AUTO
    loader: Loader = Loader.AUTO
    forwarded: bool = False

    def attached(self) -> AbstractContextManager[LoadedPrograms]:
        """Load and attach them; see `modes.attached`."""
        how = (self.mode, self.loader)
        return attached(self.object_file, self.cgroup, *how, forwarded=self.forwarded)

    def build(self) -> bytes:
        """Return 32 bytes that tell what makes these programs from what makes others."""
        kind = f"{self.loader} {self.forwarded} {libc_places.identity()} "
        digest: bytes = sha256(kind.encode("ascii") + self.object_file.read_bytes()).digest()
        return digest

    def link_names(self, mode: AttachMode) -> Iterator[set[str]]:
        """Yield the names of the links of each set of programs that may make a mode."""
        also = (*VERDICTS, *(FORWARDED if self.forwarded else ()))
        for programs, sight in product(PROGRAMS[mode], all_sights()):
            yield {*chain.from_iterable(each.links for each in (*programs, *also)), *sight.links}


class Kept:
    """Attached programs, perhaps pinned."""

    def __init__(self, programs: LoadedPrograms, folder: PinFolder | None, origin: str) -> None:
        self.programs = programs
        self.folder = folder
        """None: they go with this process."""
        self.origin = origin
        """Where they come from, or why they are not pinned, for people."""
        self.taken_over = False
        """Whether they have been recording since before this process."""
        self.stay = False
        """Whether they go on recording when they are let go of."""

    def listings(self) -> dict[str, int]:
        """Open what lists the maps, by what it lists; nothing if it is not there.

        Raises:
            OSError: there are no descriptors left.

        """
        files: dict[str, int] = {}
        if self.folder is None:
            return files
        try:
            for name in LISTED:
                path = reader_file(self.folder.path, name)
                files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            for fd in files.values():
                os.close(fd)
            if isinstance(problem, FileNotFoundError):
                return {}
            raise
        return files


@contextmanager
def kept(wish: Wish, place: Place) -> Iterator[Kept]:
    """Have the wished programs attached, and pinned at *place* if that can be.

    Those that a daemon before has left there go on, if they are the same in everything; others are
    replaced, without a moment in which nothing records, and what they have recorded is taken over
    if it is of the same layout. At the end all is removed unless `Kept.stay` is set: it is, at
    first, where something has been there before.

    Raises:
        BpfError: see `modes.attached`.

    """
    with ExitStack() as stack:
        held = _held(wish, place, stack)
        try:
            yield held
        finally:
            if held.folder is not None and not held.stay:
                _removed(held.folder)


def pin_folder(place: Path, library: Libbpf) -> PinFolder:
    """Return what counts at *place*, after a daemon may have been killed at any moment."""
    folder, newer = PinFolder(library, place), PinFolder(library, _newer(place))
    if folder.about() is None:
        folder.remove()
        if newer.about() is not None:
            newer.become(place)
            return newer
    newer.remove()
    return folder


def remove_pins(place: Path) -> bool:
    """Remove what is pinned at *place*; returns whether there was anything.

    Raises:
        BpfError: there is no libbpf.
        OSError: something may not be removed.

    """
    bpffs.check_own(place.parent)
    there = [path for path in (place, _newer(place)) if path.exists()]
    for path in there:
        PinFolder(Libbpf(), path).remove()
    return bool(there)


def _newer(place: Path) -> Path:
    return place.with_name(place.name + _NEW)


def _held(wish: Wish, place: Place, stack: ExitStack) -> Kept:
    try:
        bpffs.mount()
        place.path.parent.mkdir(mode=0o700, exist_ok=True)
        bpffs.check_own(place.path.parent)
        place.path.parent.chmod(_PASSABLE)  # whatever the umask
        folder = pin_folder(place.path, Libbpf())
    except OSError as problem:
        return Kept(stack.enter_context(wish.attached()), None, f"{problem}")
    expected = _expected(wish, place)
    about = folder.about()
    if about is not None and about._replace(mode="") == expected:
        try:
            return _taken_over(wish, folder, about, stack)
        except BpfError as problem:
            _log.warning("what is pinned at %s is of no use: %s", folder.path, problem)
    return _replaced(wish, folder, expected, stack)


def _taken_over(wish: Wish, folder: PinFolder, about: About, stack: ExitStack) -> Kept:
    mode = AttachMode(about.mode)
    if folder.link_names() not in wish.link_names(mode):
        raise BpfError("some of its programs are missing")
    if folder.has_idle_link(about.cgroup_id):
        raise BpfError("a program has lost its hook")
    with ExitStack() as trying:
        programs = trying.enter_context(folder.programs(mode))
        if mode is not AttachMode.CGROUP:
            see_hooks_run(programs)
        stack.push(trying.pop_all())
    dns, libc = problems_of(folder.link_names())
    why = "as the daemon before had it"
    programs = replace(programs, why=why, dns_problem=dns, libc_problem=libc)
    held = Kept(programs, folder, "taken over with all that they have recorded")
    held.taken_over = held.stay = True
    return held


def _replaced(wish: Wish, folder: PinFolder, expected: About, stack: ExitStack) -> Kept:
    """Attach programs of our own, and only then take away those that are there."""
    programs = stack.enter_context(wish.attached())
    before = folder.about()
    newer = PinFolder(programs.library, _newer(folder.path))
    try:
        newer.pin(programs, expected._replace(mode=programs.mode.value))
    except (BpfError, OSError) as problem:
        _removed(folder)
        return Kept(programs, None, f"pinning was refused: {problem}")
    held = Kept(programs, newer, "new")
    if before is not None:
        held.stay = before.netns_cookie == expected.netns_cookie
        held.taken_over = held.stay and _migrated(folder, before, programs)
        held.origin = "new, in place of earlier ones" + (
            ", with what these had recorded" if held.taken_over else ", which were of another kind"
        )
    _removed(folder)
    newer.become(folder.path)
    return held


def _migrated(folder: PinFolder, before: About, programs: LoadedPrograms) -> bool:
    if before.layout_version != LAYOUT_VERSION:
        return False
    try:
        with folder.programs(programs.mode) as old:
            migrate(old, programs)
    except (BpfError, OSError) as problem:
        _log.warning("what earlier programs have recorded cannot be taken over: %s", problem)
        return False
    return True


def _expected(wish: Wish, place: Place) -> About:
    cgroup_id = 0
    with suppress(BpfError, OSError):
        cgroup_id = (wish.cgroup or root_cgroup()).stat().st_ino
    return About(LAYOUT_VERSION, place.netns_cookie, cgroup_id, wish.mode.value, "", wish.build())


def _removed(folder: PinFolder) -> None:
    try:
        folder.remove()
    except OSError as problem:
        _log.warning("%s cannot be removed: %s (nfsnitch unload)", folder.path, problem)
