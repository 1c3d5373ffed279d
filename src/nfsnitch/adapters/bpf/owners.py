"""The owners that eBPF has recorded, read from its maps and kept tidy."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    COOKIE,
    COUNTER_KEY,
    COUNTER_VALUE,
    COUNTERS,
    PORT_VALUE,
    FlowClaim,
    Image,
    ImageKey,
    OwnerEntry,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.owner import Ancestor, Executable, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

RELEASE_GRACE_NS = 10_000_000_000
"""How long the owner of a closed socket stays: its last packets may still wait in the queue."""
IMAGE_IDLE_NS = 60_000_000_000
"""How long an image stays that no owner refers to."""

_CACHED_IMAGES = 4096
_MAX_ANCESTORS = 16
_NO_IMAGE = Unknown("its entry is missing: the map of processes was full")


class SocketUser(NamedTuple):
    """A socket that eBPF has recorded."""

    cookie: int
    process: Process
    created_ns: int
    """Monotonic; before its first packet."""
    released_ns: int
    """Monotonic; when the socket was closed. 0: it is open."""


class OwnerStore:
    """Reads owners by socket cookie; removes what belongs to sockets closed for a while."""

    def __init__(
        self,
        programs: LoadedPrograms,
        on_closed: Callable[[int], None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Read *programs*' maps; *on_closed* hears, from within `tidy`, of each closed socket."""
        self._programs = programs
        self._on_closed = on_closed
        self._clock_ns = clock_ns
        self._images: dict[bytes, Image] = {}
        """Settled images only."""
        self._seen_in_proc: dict[bytes, Process] = {}
        """By image key: what /proc said where the kernel could not tell everything."""
        self._parents: dict[bytes, tuple[Ancestor, ...]] = {}
        """By the key of the process whose parents they are; as many as there are images."""
        self._released: deque[tuple[int, bytes]] = deque()
        """(when heard of, packed cookie), oldest first; as many as `owners` can have."""
        self._ring = programs.releases(self._heard_of_release)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `tidy` should not wait for its second."""
        return self._ring.fileno()

    def close(self) -> None:
        """Let go of the ring buffer."""
        self._ring.close()

    def claim_on_flow(self, key: bytes) -> FlowClaim | None:
        """Return who sends with the tuple of a key made by `layout.flow_key`."""
        raw = self._programs.flows.get(key)
        return None if raw is None else FlowClaim.unpacked(raw)

    def cookie_of_port(self, key: bytes) -> int | None:
        """Return the cookie under a key made by `layout.port_key` or `layout.raw_key`.

        None also when several open sockets share it: then it tells nothing.
        """
        raw = self._programs.ports.get(key)
        if raw is None:
            return None
        cookie, shared = PORT_VALUE.unpack(raw)
        return None if shared else cookie

    def socket_user(self, cookie: int) -> SocketUser | None:
        """Return who uses the socket with this cookie; None if eBPF has not seen it."""
        raw = self._programs.owners.get(COOKIE.pack(cookie))
        if raw is None:
            return None
        entry = OwnerEntry.unpacked(raw)
        return SocketUser(cookie, self._process(entry), entry.created_ns, entry.released_ns)

    def counters(self) -> dict[Counter, int]:
        """Return what the eBPF programs have counted."""
        values = (
            self._programs.counters.get(COUNTER_KEY.pack(number)) for number in range(len(COUNTERS))
        )
        return {
            Counter(name): COUNTER_VALUE.unpack(raw)[0]
            for name, raw in zip(COUNTERS, values, strict=True)
            if raw is not None
        }

    def tidy(self) -> None:
        """Hear of closed sockets; remove the owners of those closed `RELEASE_GRACE_NS` ago."""
        self._ring.consume()
        until_ns = self._clock_ns() - RELEASE_GRACE_NS
        while self._released and self._released[0][0] <= until_ns:
            self._programs.owners.remove(self._released.popleft()[1])

    def sweep_images(self) -> Iterator[None]:
        """Remove the images that nothing needs, in small steps: run one step at a time."""
        idle_since_ns = self._clock_ns() - IMAGE_IDLE_NS
        needed: set[bytes] = set()
        for cookie in self._programs.owners.keys():  # noqa: SIM118  not a dict
            raw = self._programs.owners.get(cookie)
            if raw is not None:
                needed.add(OwnerEntry.unpacked(raw).image_key)
            yield
        for key in list(needed):
            needed.update(key for key, _ in self._chain(self._image(key)))
            yield
        for key in list(self._programs.images.keys()):
            yield
            image = None if key in needed else self._read_image(key)
            if image is not None and image.last_used_ns < idle_since_ns:
                self._programs.images.remove(key)
                self._forget(key)

    def _heard_of_release(self, address: int, size: int) -> None:
        cookie = ctypes.string_at(address, size)
        self._released.append((self._clock_ns(), cookie))
        self._on_closed(*COOKIE.unpack(cookie))

    def _process(self, entry: OwnerEntry) -> Process:
        key = ImageKey.unpacked(entry.image_key)
        image = self._own_image(entry.image_key)
        found = Process(
            pid=key.pid,
            tid=entry.tid,
            start_time_ns=key.start_ns,
            uid=entry.uid,
            gid=entry.gid,
            exe=_executable(image),
            args=image.args if image else _NO_IMAGE,
            comm=decoded(entry.comm.split(b"\0", 1)[0]),
            parents=self._ancestors(entry.image_key, image),
            cgroup_id=key.cgroup_id or Unknown("the process is in no cgroup v2"),
            cgroup=image.cgroup if image else _NO_IMAGE,
            netns=entry.netns,
        )
        if image is not None and image.complete:
            return found
        return self._completed(entry.image_key, found)

    def _completed(self, key: bytes, found: Process) -> Process:
        """Fill in from /proc what the kernel could not; it is dear, and done once for an image."""
        seen = self._seen_in_proc.get(key) or _same_in_proc(found)
        if seen is None:
            return found
        if len(self._seen_in_proc) >= _CACHED_IMAGES:
            del self._seen_in_proc[next(iter(self._seen_in_proc))]
        self._seen_in_proc[key] = seen
        return replace(
            found,
            exe=seen.exe if isinstance(found.exe.path, Unknown) else found.exe,
            args=seen.args if isinstance(found.args, Unknown) else found.args,
            cgroup=seen.cgroup if isinstance(found.cgroup, Unknown) else found.cgroup,
            parents=found.parents or seen.parents,
        )

    def _ancestors(self, key: bytes, image: Image | None) -> tuple[Ancestor, ...]:
        parents = self._parents.get(key)
        if parents is None:
            chain = list(self._chain(image))
            parents = tuple(_ancestor(each, above) for each, above in chain)
            # An ancestor may be in the middle of being filled in: then the chain is not done yet.
            if all(each in self._images for each in (key, *(each for each, _ in chain))):
                self._parents[key] = parents
        return parents

    def _own_image(self, key: bytes) -> Image | None:
        """Return a process's image; an ancestor's may have been read before it had arguments."""
        image = self._image(key)
        if image is not None and not image.complete:
            self._forget(key)
            return self._image(key)
        return image

    def _image(self, key: bytes) -> Image | None:
        cached = self._images.get(key)
        if cached is not None:
            return cached
        image = self._read_image(key)
        if image is not None and image.settled:
            if len(self._images) >= _CACHED_IMAGES:
                self._forget(next(iter(self._images)))
            self._images[key] = image
        return image

    def _forget(self, key: bytes) -> None:
        self._images.pop(key, None)
        self._parents.pop(key, None)

    def _read_image(self, key: bytes) -> Image | None:
        raw = self._programs.images.get(key)
        return None if raw is None else Image.unpacked(raw)

    def _chain(self, image: Image | None) -> Iterator[tuple[bytes, Image | None]]:
        """Yield the packed keys and images of the ancestors, nearest first."""
        for _ in range(_MAX_ANCESTORS):
            if image is None or not ImageKey.unpacked(image.parent).pid:
                return
            key = image.parent
            image = self._image(key)
            yield key, image


def _executable(image: Image | None) -> Executable:
    if image is None:
        return Executable(_NO_IMAGE, _NO_IMAGE, _NO_IMAGE)
    return Executable(image.exe, image.exe_device, image.exe_inode, image.exe_deleted)


def _ancestor(packed_key: bytes, image: Image | None) -> Ancestor:
    key = ImageKey.unpacked(packed_key)
    return Ancestor(key.pid, key.start_ns, _executable(image))


def _same_in_proc(found: Process) -> Process | None:
    """Return what /proc says of a process, if that is still the same one and runs the same file."""
    seen = procfs.process(found.pid)
    if isinstance(seen, Unknown):
        return None
    if not procfs.is_same_start(found.start_time_ns, seen.start_time_ns):
        return None
    # Without knowing which file it ran, it may have become another program since.
    return seen if found.exe.inode == seen.exe.inode else None
