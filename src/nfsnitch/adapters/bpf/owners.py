"""The owners that eBPF has recorded, read from its maps and kept tidy."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from nfsnitch.adapters import mounts
from nfsnitch.adapters.bpf.comparing import executable, same_in_proc
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    COOKIE,
    COUNTER_KEY,
    COUNTER_VALUE,
    COUNTERS,
    PORT_VALUE,
    RAW_VALUE,
    Crossing,
    FlowClaim,
    Image,
    ImageKey,
    OwnerEntry,
    OwnerFlag,
    is_released,
    last_used_ns,
)
from nfsnitch.adapters.host_paths import HostPaths
from nfsnitch.adapters.privileges import Capability, Without
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.owner import Ancestor, Executable, Owner, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

RELEASE_GRACE_NS = 60_000_000_000
"""How long the owner of a closed socket stays at most: its packets may still wait in the queue.

Where thousands of short-lived programs send at once, a slow machine takes more than ten seconds
to see its queue empty, and what is forgotten before is refused.
"""
MAX_RELEASED = 65_536
"""How many of them stay at most."""
IMAGE_IDLE_NS = 5_000_000_000
"""How long an image stays that no owner refers to."""
CROWD = 2_000
"""After so many sockets have gone, their processes may be about to fill the map of images."""
CROWDED_IDLE_NS = 500_000_000
"""How long such an image stays then."""

_LATE_NS = 1_000_000
"""How long after its close a socket's last packet may still enter the queue (data held back)."""

_OWNERS_AT_ONCE, _IMAGES_AT_ONCE = 256, 64
"""In one step of a sweep."""
_CACHED = 512
"""Entries of each cache."""
_MAX_ANCESTORS = 16
_OLDER = Unknown("the socket is older than the eBPF programs")
_NO_IMAGE = Unknown("its entry is missing: the map of processes was full")


class SocketUser(NamedTuple):
    """A socket that eBPF has recorded."""

    cookie: int
    owner: Owner
    """A process, or `Unknown` if nothing is known of the one whose pid it was."""
    created_ns: int
    """Monotonic; before its first packet."""
    released_ns: int
    """Monotonic; when the socket was closed. 0: it is open."""
    shares_port: bool
    """Another socket may have the same address and port while it is open."""


class RawSockets(NamedTuple):
    """The raw sockets of one protocol (``struct raw_value``)."""

    cookie: int
    """Of the one that was made last."""
    open: int
    """How many are open."""
    closed_ns: int
    """Monotonic; when one was closed last."""


class OwnerStore:
    """Reads owners by socket cookie; removes what belongs to sockets closed for a while."""

    def __init__(
        self,
        programs: LoadedPrograms,
        on_closed: Callable[[int], None],
        proc_limit: TimeLimit,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Read *programs*' maps; *on_closed* hears, from within `tidy`, of each closed socket."""
        self._late_ns = _LATE_NS
        self._proc_limit = proc_limit
        self._programs = programs
        self._on_closed = on_closed
        self._clock_ns = clock_ns
        self._images: dict[bytes, Image] = {}
        """Settled images only."""
        self._seen_in_proc: dict[bytes, Process | None] = {}
        """By image key: what /proc said where the kernel could not tell everything."""
        self._parents: dict[bytes, tuple[Ancestor, ...]] = {}
        """By the key of the process whose parents they are; as many as there are images."""
        self._processes: dict[OwnerEntry, Process] = {}
        """By the entry without its times."""
        self._mounts = mounts.of_the_rules()
        self._host_paths = HostPaths(self._mounts, proc_limit)
        self._released: deque[tuple[int, bytes]] = deque()
        """(when heard of, packed cookie), oldest first; as many as `owners` can have."""
        self._gone = 0
        """How many owners have been removed since the last sweep began."""
        self._ring = programs.releases(self._heard_of_release)

    def keep_late(self, late_ns: int) -> None:
        """Expect packets to come to the queue so long after their socket was closed."""
        self._late_ns = late_ns

    def fileno(self) -> int:
        """Return the descriptor that is readable when `tidy` should not wait for its second."""
        return self._ring.fileno()

    def close(self) -> None:
        """Let go of the ring buffer."""
        self._ring.close()

    @property
    def sees_packets(self) -> bool:
        """Whether every packet's sender is written down on its way into the queue."""
        return self._programs.mode is not AttachMode.CGROUP

    @property
    def needs_cookies(self) -> bool:
        """Whether sockets must have got their cookie before the programs can know them by it."""
        return self._programs.mode is AttachMode.KPROBE

    def claim_on_flow(self, key: bytes) -> FlowClaim | None:
        """Return who sends with the tuple of a key of `layout.flow_key` or `layout.packet_key`."""
        raw = self._programs.flows.get(key)
        return None if raw is None else FlowClaim.unpacked(raw)

    def crossing(self, key: bytes) -> Crossing | None:
        """Return who sends, from elsewhere, with the tuple of a key of `layout.crossing_key`."""
        raw = self._programs.crossings.get(key)
        return None if raw is None else Crossing.unpacked(raw)

    def crossings(self) -> Iterator[tuple[bytes, Crossing]]:
        """Yield all keys of `layout.crossing_key`, and who sends."""
        for entries in self._programs.crossings.batches(_OWNERS_AT_ONCE):
            for key, raw in entries:
                yield key, Crossing.unpacked(raw)

    def raw_sockets(self, key: bytes) -> RawSockets | None:
        """Return the raw sockets under a key made by `layout.raw_key`."""
        raw = self._programs.raw_sockets.get(key)
        return None if raw is None else RawSockets._make(RAW_VALUE.unpack(raw))

    def cookie_of_port(self, key: bytes) -> int | None:
        """Return the cookie under a key made by `layout.port_key`.

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
        return SocketUser(
            cookie,
            self._owner(entry),
            entry.created_ns,
            entry.released_ns,
            bool(entry.flags & OwnerFlag.SHARES_PORT),
        )

    def owner_of(self, entry: OwnerEntry) -> Owner:
        """Return the process that an entry names, wherever it was read."""
        return self._owner(entry)

    def needs_bpf(self) -> bool:
        """Whether this kernel lets nobody without CAP_BPF at maps that are open already: tried.

        So it was before Linux 5.19 with ``kernel.unprivileged_bpf_disabled`` set.
        """
        with Without(Capability.CAP_BPF, Capability.CAP_SYS_ADMIN), suppress(StopIteration):
            try:
                next(self._programs.counters.keys())
            except OSError:
                return True
        return False

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

    def take_over(self) -> None:
        """Find the owners of sockets that were closed when nobody was there to hear of it."""
        for entries in self._programs.owners.batches(_OWNERS_AT_ONCE):
            self._released.extend(
                (self._clock_ns(), key) for key, raw in entries if is_released(raw)
            )

    def tidy(self, queue_empty_ns: int) -> bool:
        """Hear of closed sockets, and remove the owners of those that nobody will ask for.

        That is so once the queue has been seen empty after the close (*queue_empty_ns*, monotonic),
        and in any case after `RELEASE_GRACE_NS`. Returns whether there may be more to hear of.
        """
        more = self._ring.consume()
        until_ns = max(queue_empty_ns - self._late_ns, self._clock_ns() - RELEASE_GRACE_NS)
        while self._released and self._released[0][0] <= until_ns:
            self._remove_owner(self._released.popleft()[1])
        while len(self._released) > MAX_RELEASED:
            self._remove_owner(self._released.popleft()[1])
        return more

    @property
    def crowded(self) -> bool:
        """Whether so many sockets have gone that a sweep of the images should not wait."""
        return self._gone >= CROWD

    def sweep_images(self) -> Iterator[None]:
        """Remove the images that nothing needs, in small steps: run one step at a time."""
        idle_since_ns = self._clock_ns() - (CROWDED_IDLE_NS if self.crowded else IMAGE_IDLE_NS)
        self._gone = 0
        needed: set[bytes] = set()
        idle: list[bytes] = []
        for entries in self._programs.owners.batches(_OWNERS_AT_ONCE):
            for _, raw in entries:
                entry = OwnerEntry.unpacked(raw)
                needed.update((entry.image_key, entry.opener))
            yield
        for entries in self._programs.images.batches(_IMAGES_AT_ONCE):
            for key, raw in entries:
                (idle.append if last_used_ns(raw) < idle_since_ns else needed.add)(key)
            yield
        # A new socket of a process that is known does not touch the images of its ancestors.
        for key in list(needed):
            self._add_ancestors(key, needed)
            yield
        for key in idle:
            if key not in needed and self._is_idle(key, idle_since_ns):
                self._programs.images.remove(key)
                self._forget(key)
            yield

    def _add_ancestors(self, key: bytes, needed: set[bytes]) -> None:
        """Add its ancestors up to one that is there: those above that have a turn of their own."""
        for above, _ in self._chain(self._image(key)):
            if above in needed:
                return
            needed.add(above)

    def _is_idle(self, key: bytes, since_ns: int) -> bool:
        raw = self._programs.images.get(key)
        return raw is not None and last_used_ns(raw) < since_ns

    def _remove_owner(self, packed_cookie: bytes) -> None:
        self._programs.owners.remove(packed_cookie)
        self._gone += 1

    def _heard_of_release(self, address: int, size: int) -> None:
        cookie = ctypes.string_at(address, size)
        self._released.append((self._clock_ns(), cookie))
        self._on_closed(*COOKIE.unpack(cookie))

    def _owner(self, entry: OwnerEntry) -> Owner:
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
        if entry.image_key in self._parents and self._knows_opener(entry):
            _make_room(self._processes)
            self._processes[identity] = found
        return found

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
            parents=self._ancestors(entry.image_key, image),
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

    def _ancestors(self, key: bytes, image: Image | None) -> tuple[Ancestor, ...]:
        parents = self._parents.get(key)
        if parents is None:
            chain = list(self._chain(image))
            parents = tuple(self._ancestor(each, above) for each, above in chain)
            # An ancestor may be in the middle of being filled in: then the chain is not done yet.
            if all(each in self._images for each in (key, *(each for each, _ in chain))):
                self._parents[key] = parents
        return parents

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
            self._forget(key)
            return self._image(key)
        return image

    def _image(self, key: bytes) -> Image | None:
        cached = self._images.get(key)
        if cached is not None:
            return cached
        image = self._read_image(key)
        if image is not None and image.settled:
            if len(self._images) >= _CACHED:
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


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= _CACHED:
        del cache[next(iter(cache))]
