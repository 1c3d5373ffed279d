"""Which process an owner is: what eBPF has recorded of it, and /proc where that is not all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nfsnitch.adapters import mounts
from nfsnitch.adapters.bpf.comparing import executable, same_in_proc
from nfsnitch.adapters.bpf.layout import Image, ImageKey, OwnerEntry
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.adapters.host_paths import HostPaths
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.owner import Ancestor, Executable, Owner, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

_CACHED = 512
"""Entries of each cache."""
_MAX_ANCESTORS = 16
_OLDER = Unknown("the socket is older than the eBPF programs")
_NO_IMAGE = Unknown("its entry is missing: the map of processes was full")


class ProcessReader:
    """Reads processes from the map of images."""

    def __init__(self, images: BpfMap, proc_limit: TimeLimit) -> None:
        """Look into /proc as often as *proc_limit* allows."""
        self._map = images
        self._proc_limit = proc_limit
        self._images: dict[bytes, Image] = {}
        """Settled images only."""
        self._seen_in_proc: dict[bytes, Process | None] = {}
        """By image key: what /proc said where the kernel could not tell everything."""
        self._lines: dict[bytes, tuple[Ancestor, ...]] = {}
        """A process and what is above it, by its key: children of one parent share what they had.

        Settled ones only, as many as there are images.
        """
        self._processes: dict[OwnerEntry, Process] = {}
        """By the entry without its times."""
        self._by_bytes: dict[bytes, Process] = {}
        """The same, by what they were read from."""
        self._mounts = mounts.of_the_rules()
        self._host_paths = HostPaths(self._mounts, proc_limit)

    def owner(self, entry: OwnerEntry) -> Owner:
        """Return the process that an entry names."""
        identity = entry._replace(created_ns=0, released_ns=0)
        cached = self._processes.get(identity)
        if cached is not None:
            return cached
        image = self._own_image(entry.image_key)
        if image is None:
            return _NO_IMAGE
        found = self._process(entry, image)
        if not image.complete:
            return self._completed(entry.image_key, found)
        # Else an ancestor, or who made the socket, is being filled in.
        if self._knows_parents(image) and self._knows_opener(entry):
            _make_room(self._processes)
            self._processes[identity] = found
        return found

    def owner_in(self, raw: bytes, identity: bytes) -> Owner:
        """Return the process that a ``struct owner`` names; *identity* is it without its times.

        The same as `owner`, for those that are asked about again and again.
        """
        cached = self._by_bytes.get(identity)
        if cached is not None:
            return cached
        entry = OwnerEntry.unpacked(raw)
        found = self.owner(entry)
        settled = self._processes.get(entry._replace(created_ns=0, released_ns=0))
        if settled is not None:
            _make_room(self._by_bytes)
            self._by_bytes[identity] = settled
        return found

    def above(self, key: bytes) -> Iterator[bytes]:
        """Yield the packed keys of a process's ancestors, nearest first."""
        image = self._image(key)
        for above, _ in self._chain(image.parent) if image else ():
            yield above

    def forget(self, key: bytes) -> None:
        """Read the image anew, should it be asked for again."""
        self._images.pop(key, None)
        self._lines.pop(key, None)

    def _process(self, entry: OwnerEntry, image: Image) -> Process:
        key = ImageKey.unpacked(entry.image_key)
        return Process(
            pid=key.pid,
            tid=entry.tid,
            start_time_ns=key.start_ns,
            uid=entry.uid,
            gid=entry.gid,
            exe=self._executable(key, image),
            args=image.args,
            comm=decoded(entry.comm.split(b"\0", 1)[0]),
            parents=self._line(image.parent),
            cgroup_id=key.cgroup_id or Unknown("the process is in no cgroup v2"),
            cgroup=image.cgroup,
            netns=entry.netns,
            opener=self._opener(entry),
        )

    def _opener(self, entry: OwnerEntry) -> Ancestor | Unknown | None:
        """Return who made the socket, if that is not the program that uses it."""
        opener = ImageKey.unpacked(entry.opener)
        if not opener.pid:
            return _OLDER
        if opener.is_same_program(ImageKey.unpacked(entry.image_key)):
            return None
        return self._ancestor(entry.opener, self._image(entry.opener))

    def _knows_opener(self, entry: OwnerEntry) -> bool:
        return not isinstance(self._opener(entry), Ancestor) or entry.opener in self._images

    def _completed(self, key: bytes, found: Process) -> Process:
        """Fill in from /proc what the kernel could not; it is dear, and done once for an image."""
        if key not in self._seen_in_proc:
            with self._proc_limit.spending() as may_look:
                if not may_look:
                    return found
                _make_room(self._seen_in_proc)
                self._seen_in_proc[key] = same_in_proc(found)
        seen = self._seen_in_proc[key]
        if seen is None:
            return found
        return replace(
            found,
            exe=seen.exe if isinstance(found.exe.path, Unknown) else found.exe,
            args=seen.args if isinstance(found.args, Unknown) else found.args,
            cgroup=seen.cgroup if isinstance(found.cgroup, Unknown) else found.cgroup,
            parents=found.parents or seen.parents,
        )

    def _line(self, key: bytes) -> tuple[Ancestor, ...]:
        """Return the process that *key* names and its ancestors, nearest first."""
        line = self._lines.get(key)
        if line is None:
            chain = list(self._chain(key))
            line = tuple(self._ancestor(each, image) for each, image in chain)
            # One may be in the middle of being filled in: then the line is not done yet.
            if all(each in self._images for each, _ in chain):
                self._lines[key] = line
        return line

    def _knows_parents(self, image: Image) -> bool:
        return image.settled and image.parent in self._lines

    def _ancestor(self, packed_key: bytes, image: Image | None) -> Ancestor:
        key = ImageKey.unpacked(packed_key)
        exe = Executable(_NO_IMAGE, _NO_IMAGE, _NO_IMAGE)
        return Ancestor(key.pid, key.start_ns, self._executable(key, image) if image else exe)

    def _executable(self, key: ImageKey, image: Image) -> Executable:
        """Return the program, by a path that means the same file to whoever wrote the rules.

        In a mount namespace of one's own, which needs no privilege, any file can be put under any
        name. So a path from another namespace counts only if it leads to the same file in theirs.
        """
        return executable(image, key, self._mounts.namespace, self._host_paths)

    def _own_image(self, key: bytes) -> Image | None:
        """Return a process's image; an ancestor's may have been read before it had arguments."""
        image = self._image(key)
        if image is not None and not image.complete:
            self.forget(key)
            return self._image(key)
        return image

    def _image(self, key: bytes) -> Image | None:
        cached = self._images.get(key)
        if cached is not None:
            return cached
        image = self._read_image(key)
        if image is not None and image.settled:
            if len(self._images) >= _CACHED:
                self.forget(next(iter(self._images)))
            self._images[key] = image
        return image

    def _read_image(self, key: bytes) -> Image | None:
        raw = self._map.get(key)
        return None if raw is None else Image.unpacked(raw)

    def _chain(self, key: bytes) -> Iterator[tuple[bytes, Image | None]]:
        """Yield the packed keys and images of a process and its ancestors, nearest first."""
        for _ in range(_MAX_ANCESTORS):
            if not ImageKey.unpacked(key).pid:
                return
            image = self._image(key)
            yield key, image
            if image is None:
                return
            key = image.parent


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= _CACHED:
        del cache[next(iter(cache))]
