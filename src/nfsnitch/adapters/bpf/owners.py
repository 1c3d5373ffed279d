"""The owners that eBPF has recorded, read from its maps and kept tidy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.bpf.blocks import HEADER_BYTES
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    COOKIE,
    COOKIE_KERNEL,
    COUNTER_KEY,
    COUNTER_VALUE,
    COUNTERS,
    FLOW_VALUE,
    IMAGE_KEY,
    MAX_PREVIOUS,
    OPENING_SLOT,
    OWNER,
    PASS,
    PASS_FIRST,
    PASS_KEY,
    PORT_VALUE,
    RAW_VALUE,
    VERDICT_SETTINGS,
    Crossing,
    FlowClaim,
    OwnerEntry,
    OwnerFlag,
    flow_key,
    last_used_ns,
)
from nfsnitch.adapters.bpf.process_reader import ProcessReader
from nfsnitch.adapters.privileges import Capability, Without
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Owner

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

_RELEASE = Struct(f"={HEADER_BYTES}x{COOKIE.size}s")
"""A ``struct release`` in a block."""
HEARD_AT_ONCE = 128
"""Closed sockets: packets must not wait for those of a whole burst."""
_REMOVED_AT_ONCE = 256
"""Owners, in one call of `tidy`."""
_OWNERS_AT_ONCE, _IMAGES_AT_ONCE = 64, 16
"""In one step of a sweep."""

# Of a ``struct owner`` what each packet needs is read in place: taking all of it apart costs more
# than all the rest of a look-up.
_TIMES = Struct("=QQ16xI")
"""created_ns, released_ns, flags: behind the key of the image."""
_IMAGE_END = IMAGE_KEY.size
_TIMES_END = _IMAGE_END + 16
_OPENER = OWNER.size - IMAGE_KEY.size
_PREVIOUS, _NO_PREVIOUS = FLOW_VALUE.size - 8 * MAX_PREVIOUS, bytes(8 * MAX_PREVIOUS)
"""Of a ``struct flow_value``: the cookies before."""
_COOKIES, _PACKED = Struct(f"={MAX_PREVIOUS}Q"), COOKIE.pack
_CLAIM = Struct("=QQ")
"""Its cookie and since when."""
_SHARES_PORT = int(OwnerFlag.SHARES_PORT)


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
        on_closed: Callable[[Sequence[int]], None],
        proc_limit: TimeLimit,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Read *programs*' maps; *on_closed* hears, from within `tidy`, of closed sockets."""
        self._late_ns = _LATE_NS
        self._programs = programs
        self._flows, self._owners = programs.flows, programs.owners
        self._on_closed = on_closed
        self._clock_ns = clock_ns
        self._processes = ProcessReader(programs.images, proc_limit)
        self._released: deque[tuple[int, bytes]] = deque()
        """(when heard of, packed cookie), oldest first; as many as `owners` can have."""
        self.heard = 0
        """Of how many closed sockets in all."""
        self.is_stirred = True
        """Whether a socket was asked for, or closed, since the last sweep began."""
        self._gone = 0
        """How many owners have been removed since the last sweep began."""
        self._ring = programs.releases()

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
        raw = self._flows.get(key)
        return None if raw is None else FlowClaim.unpacked(raw)

    def only_user(self, key: bytes) -> tuple[SocketUser, int] | None:
        """Return who sends with the tuple of a key of `layout.flow_key`, if that is easy to say.

        So it is where one socket has it, which is open, and nothing is kept of any that had it
        before. With it comes since when it has it (monotonic).
        """
        raw = self._flows.get(key)
        if raw is None or (raw[_PREVIOUS:] != _NO_PREVIOUS and not self._are_gone(raw)):
            return None
        cookie, since_ns = _CLAIM.unpack_from(raw)
        user = self.socket_user(cookie)
        return None if user is None or user.released_ns else (user, since_ns)

    def _are_gone(self, claim: bytes) -> bool:
        """Whether all are who had its tuple before: no packet of theirs is still to come."""
        before = {each for each in _COOKIES.unpack_from(claim, _PREVIOUS) if each}
        return COOKIE_KERNEL not in before and not any(map(self._owners.get, map(_PACKED, before)))

    def was_answered(self, cookie: int, flow: Flow) -> bool:
        """Whether the kernel answers for all that a socket sends in *flow*: none is queued."""
        raw = self._programs.passes.get(PASS_KEY.pack(cookie, flow_key(0, flow)))
        settings = self._programs.verdict_config.get(OPENING_SLOT.pack(0))
        if raw is None or settings is None:
            return False
        _, _, generation, action = PASS.unpack(raw)
        return bool(action & PASS_FIRST) and generation == VERDICT_SETTINGS.unpack(settings)[0]

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
        self.is_stirred = True
        raw = self._owners.get(COOKIE.pack(cookie))
        if raw is None:
            return None
        created_ns, released_ns, flags = _TIMES.unpack_from(raw, _IMAGE_END)
        owner = self._processes.owner_in(raw, raw[:_IMAGE_END] + raw[_TIMES_END:])
        return SocketUser(cookie, owner, created_ns, released_ns, flags & _SHARES_PORT != 0)

    def owner_of(self, entry: OwnerEntry) -> Owner:
        """Return the process that an entry names, wherever it was read."""
        return self._processes.owner(entry)

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
                (self._clock_ns(), key)
                for key, raw in entries
                if _TIMES.unpack_from(raw, _IMAGE_END)[1]
            )

    def tidy(self, queue_empty_ns: int) -> bool:
        """Hear of closed sockets, and remove the owners of those that nobody will ask for.

        That is so once the queue has been seen empty after the close (*queue_empty_ns*, monotonic),
        and in any case after `RELEASE_GRACE_NS`. Returns whether there may be more to hear of.
        """
        heard = [cookie for (cookie,) in _RELEASE.iter_unpack(self._ring.look(HEARD_AT_ONCE))]
        heard_ns = self._clock_ns()  # no socket that was heard of was closed later
        if heard:
            self._ring.taken(len(heard))
            self.heard += len(heard)
            self.is_stirred = True
            self._released.extend(zip(repeat(heard_ns), heard))
            self._on_closed([cookie for (cookie,) in COOKIE.iter_unpack(b"".join(heard))])
        until_ns = max(queue_empty_ns - self._late_ns, heard_ns - RELEASE_GRACE_NS)
        gone: list[bytes] = []
        released = self._released
        while released and len(gone) < _REMOVED_AT_ONCE:
            if released[0][0] > until_ns and len(released) <= MAX_RELEASED:
                break
            gone.append(released.popleft()[1])
        if gone:
            self._owners.remove_all(gone)
            self._gone += len(gone)
        return len(heard) == HEARD_AT_ONCE or len(gone) == _REMOVED_AT_ONCE

    @property
    def crowded(self) -> bool:
        """Whether so many sockets have gone that a sweep of the images should not wait."""
        return self._gone >= CROWD

    def sweep_images(self) -> Iterator[None]:
        """Remove the images that nothing needs, in small steps: run one step at a time."""
        idle_since_ns = self._clock_ns() - (CROWDED_IDLE_NS if self.crowded else IMAGE_IDLE_NS)
        self._gone, self.is_stirred = 0, False
        needed: set[bytes] = set()
        idle: list[bytes] = []
        for entries in self._programs.owners.batches(_OWNERS_AT_ONCE):
            needed.update(raw[:_IMAGE_END] for _, raw in entries)
            needed.update(raw[_OPENER:] for _, raw in entries)
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
                self._processes.forget(key)
            yield

    def _add_ancestors(self, key: bytes, needed: set[bytes]) -> None:
        """Add its ancestors up to one that is there: those above that have a turn of their own."""
        for above in self._processes.above(key):
            if above in needed:
                return
            needed.add(above)

    def _is_idle(self, key: bytes, since_ns: int) -> bool:
        raw = self._programs.images.get(key)
        return raw is not None and last_used_ns(raw) < since_ns
