"""Stand-ins for the kernel, held to the same contracts as the real things (tests/contract/)."""

from __future__ import annotations

import collections
import ctypes
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from builders import KernelImage, KernelOwner, image_key
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.blocks import HEADER_BYTES
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import COOKIE, SIZES, OwnerFlag
from nfsnitch.adapters.bpf.libbpf import SAMPLES_AT_ONCE
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_diag import SockDiag, SocketEntry
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Verdict
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Owner, Process

NETNS_COOKIE = 71
"""Of the namespace that a `FakeMachine` watches."""


@dataclass
class FakeClock:
    """Stands still unless moved."""

    now_ns: int

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


class FakePacket(NamedTuple):
    """What `FakeQueue` hands out."""

    packet_id: int
    payload: bytes
    ifindex: int
    passage: None = None


class FakeQueue:
    """A packet queue in memory."""

    def __init__(self) -> None:
        self._queued: deque[bytes] = deque()
        self._waiting: set[int] = set()
        self._last_id = 0
        self.verdicts: dict[int, Verdict] = {}

    def send(self, packet: bytes) -> None:
        """Queue a packet, as the kernel would."""
        self._queued.append(packet)

    @property
    def waiting(self) -> int:
        """How many packets have been handed out that have no verdict yet."""
        return len(self._waiting)

    def drain(self, on_packet: Callable[[FakePacket], None]) -> int:
        """Hand out what is queued."""
        number = len(self._queued)
        for _ in range(number):
            self._last_id += 1
            self._waiting.add(self._last_id)
            on_packet(FakePacket(self._last_id, self._queued.popleft(), 2))
        return number

    def give_verdict(self, packet_id: int, verdict: Verdict) -> None:
        """Note the verdict; KeyError if no such packet waits."""
        self._waiting.remove(packet_id)
        self.verdicts[packet_id] = verdict

    def drop_all(self) -> int:
        """Drop what waits."""
        left = sorted(self._waiting)
        for packet_id in left:
            self.give_verdict(packet_id, Verdict.DROP)
        return len(left)


class FakeMap:
    """A BPF hash map in memory."""

    def __init__(self, key_bytes: int, value_bytes: int) -> None:
        self._sizes = key_bytes, value_bytes
        self._entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value under *key*."""
        return self._entries.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace an entry."""
        if (len(key), len(value)) != self._sizes:
            raise ValueError("these do not fit this map")
        self._entries[key] = value

    def remove(self, key: bytes) -> bool:
        """Remove an entry."""
        return self._entries.pop(key, None) is not None

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """Remove these entries, as far as they are there."""
        for key in keys:
            self.remove(key)

    def keys(self) -> Iterator[bytes]:
        """Yield the keys."""
        yield from list(self._entries)

    def batches(self, size: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the entries, *size* at a time."""
        keys = list(self._entries)
        for at in range(0, len(keys), size):
            some = keys[at : at + size]
            yield [(key, self._entries[key]) for key in some if key in self._entries]


class FakeRing:
    """The reading end of a ring buffer in memory; `tell` is the kernel's end."""

    def __init__(
        self, on_sample: Callable[[int, int], None], at_once: int = SAMPLES_AT_ONCE
    ) -> None:
        self._on_sample = on_sample
        self._at_once = at_once
        self._samples: deque[bytes] = deque()
        self.closed = False

    def tell(self, sample: bytes) -> None:
        """Put a sample in."""
        self._samples.append(sample)

    def fileno(self) -> int:
        """Return a number that stands for a descriptor."""
        return 99

    def consume(self) -> bool:
        """Hand out some of what there is, by address and size; whether there may be more."""
        number = min(len(self._samples), self._at_once)
        for _ in range(number):
            sample = self._samples.popleft()
            buffer = ctypes.create_string_buffer(sample, len(sample))
            self._on_sample(ctypes.addressof(buffer), len(sample))
        return number == self._at_once

    def close(self) -> None:
        """Take note."""
        self.closed = True


class FakeBlocks:
    """The same of one whose samples have one size (`adapters.bpf.blocks.Blocks`)."""

    def __init__(self) -> None:
        self.samples: list[bytes] = []
        self.closed = False

    def tell(self, sample: bytes) -> None:
        """Put a sample in."""
        self.samples.append(bytes(HEADER_BYTES) + sample)

    def fileno(self) -> int:
        """Return a number that stands for a descriptor."""
        return 98

    def look(self, most: int) -> bytes:
        """Return the oldest."""
        return b"".join(self.samples[:most])

    def taken(self, number: int) -> None:
        """Forget the oldest."""
        del self.samples[:number]

    def close(self) -> None:
        """Take note."""
        self.closed = True


class FakePrograms:
    """The eBPF programs' maps and their ring buffer in memory (`core_loader.LoadedPrograms`)."""

    def __init__(self) -> None:
        self.owners = FakeMap(*SIZES["owners"])
        self.images = FakeMap(*SIZES["images"])
        self.flows = FakeMap(*SIZES["flows"])
        self.crossings = FakeMap(*SIZES["crossings"])
        self.ports = FakeMap(*SIZES["ports"])
        self.raw_sockets = FakeMap(*SIZES["raw_sockets"])
        self.counters = FakeMap(*SIZES["counters"])
        self.opening_config = FakeMap(*SIZES["opening_config"])
        self.opening_rules = FakeMap(*SIZES["opening_rules"])
        self.opening_numbers = FakeMap(*SIZES["opening_numbers"])
        self.opening_texts = FakeMap(*SIZES["opening_texts"])
        self.verdict_config = FakeMap(*SIZES["verdict_config"])
        self.verdicts = FakeMap(*SIZES["verdicts"])
        self.passes = FakeMap(*SIZES["passes"])
        self.filters: dict[str, int] = {}
        self.mode = AttachMode.CGROUP
        self.rings: list[FakeBlocks] = []
        self.opening_rings: list[FakeRing] = []
        self.cached_rings: list[FakeBlocks] = []

    def releases(self) -> FakeBlocks:
        """Open the ring buffer of closed sockets."""
        self.rings.append(FakeBlocks())
        return self.rings[-1]

    def openings(self, on_sample: Callable[[int, int], None]) -> FakeRing:
        """Open the ring buffer of sockets past netfilter."""
        self.opening_rings.append(FakeRing(on_sample))
        return self.opening_rings[-1]

    def cached(self) -> FakeBlocks:
        """Open the ring buffer of flows that the kernel has answered for."""
        self.cached_rings.append(FakeBlocks())
        return self.cached_rings[-1]

    def close_socket(self, sock_cookie: int) -> None:
        """Tell the readers of the ring buffer that a socket was closed."""
        for ring in self.rings:
            ring.tell(COOKIE.pack(sock_cookie))


class FakeOwners:
    """The maps as the eBPF programs would have written them, and the store that reads them."""

    COOKIE = 8_001
    """Of the socket that is meant where none is named."""

    def __init__(self, proc_lookups: int = 1_000) -> None:
        self.programs = FakePrograms()
        self.clock = FakeClock(2**62)  # far ahead of any real one
        self.closed: list[int] = []
        programs = cast("LoadedPrograms", self.programs)
        limit = TimeLimit(0, proc_lookups * 60, 60)
        self.store = OwnerStore(programs, self.closed.extend, limit, self.clock)

    def has_image(self, key: bytes, image: KernelImage) -> None:
        """Write a process's image, in use just now if it does not say when."""
        used = image.last_used_ns or self.clock.now_ns
        self.programs.images.put(key, replace(image, last_used_ns=used).packed())

    def has_socket(self, cookie: int, owner: KernelOwner) -> None:
        """Write a socket's owner."""
        self.programs.owners.put(layout.COOKIE.pack(cookie), owner.packed())

    def socket_of(self, key: bytes, image: KernelImage) -> Process:
        """Write a process with a socket, and return the socket's owner as the store has it."""
        self.has_image(key, image)
        self.has_socket(self.COOKIE, KernelOwner(key))
        return self.process()

    def owner(self, cookie: int = COOKIE) -> Owner:
        """Return a socket's owner; the socket must be there."""
        user = self.store.socket_user(cookie)
        assert user is not None
        return user.owner

    def process(self, cookie: int = COOKIE) -> Process:
        """Return a socket's owner, which must be a process."""
        owner = self.owner(cookie)
        assert isinstance(owner, Process)
        return owner

    @property
    def sockets(self) -> list[int]:
        """The cookies of the sockets that have an owner."""
        return [layout.COOKIE.unpack(key)[0] for key in self.programs.owners.keys()]  # noqa: SIM118

    def sweep(self) -> None:
        """Let the store sweep to the end."""
        for _ in self.store.sweep_images():
            pass


@dataclass
class FakeSockDiag:
    """The kernel's socket tables (`SockDiag`): what each look finds; the last one goes on."""

    looks: list[SocketEntry | OSError | None] = field(default_factory=lambda: [None])
    asked: int = 0

    def find(self, _flow: Flow) -> SocketEntry | None:
        """Return what the next look finds."""
        answer = self.looks[min(self.asked, len(self.looks) - 1)]
        self.asked += 1
        if isinstance(answer, OSError):
            raise answer
        return answer

    def find_connected(self, flow: Flow) -> SocketEntry | None:
        """Return what the next look finds: the fake's sockets are all connected."""
        return self.find(flow)


@dataclass
class FakeMachine:
    """Sockets, who made claims on which tuple, and when the queue was last seen empty."""

    programs: FakePrograms = field(default_factory=FakePrograms)
    tables: FakeSockDiag = field(default_factory=FakeSockDiag)
    counters: collections.Counter[Counter] = field(default_factory=collections.Counter)
    proc_lookups: int = 0
    queue_empty_ns: int = 0

    def socket(
        self, cookie: int, *, created_ns: int = 0, released_ns: int = 0, shares_port: bool = False
    ) -> None:
        """Have a socket of a process whose pid is its cookie."""
        key = image_key(cookie)
        self.programs.images.put(key, KernelImage().packed())
        flags = OwnerFlag.USED | (OwnerFlag.SHARES_PORT if shares_port else OwnerFlag(0))
        owner = KernelOwner(key, created_ns, released_ns, flags=flags)
        self.programs.owners.put(layout.COOKIE.pack(cookie), owner.packed())

    def claim(
        self, of: Flow, cookie: int, *previous: int, since_ns: int = 0, any_saddr: bool = False
    ) -> None:
        """Write whose a tuple is, and whose it was, latest first."""
        places = [*previous, *[0] * (4 - len(previous))]
        key = layout.flow_key(NETNS_COOKIE, of, any_saddr=any_saddr)
        self.programs.flows.put(
            key, layout.FLOW_VALUE.pack(cookie, since_ns, since_ns, since_ns, *places)
        )

    def port(self, key: bytes, cookie: int, *, shared: bool = False) -> None:
        """Write whose a local port is."""
        self.programs.ports.put(key, layout.PORT_VALUE.pack(cookie, shared))

    def raw_socket(self, proto: int, cookie: int, *, how_many: int, closed_ns: int = 0) -> None:
        """Write how many raw sockets of a protocol are open, and which was made last."""
        key = layout.raw_key(NETNS_COOKIE, proto)
        self.programs.raw_sockets.put(key, layout.RAW_VALUE.pack(cookie, how_many, closed_ns))

    def attributor(self) -> Attributor:
        """Return an attributor that may look into /proc `proc_lookups` times."""
        programs = cast("LoadedPrograms", self.programs)
        proc_limit = TimeLimit(0, self.proc_lookups * 60, 60)
        return Attributor(
            OwnerStore(programs, lambda _cookie: None, proc_limit, lambda: 0),
            cast("SockDiag", self.tables),
            NETNS_COOKIE,
            lambda: self.queue_empty_ns,
            proc_limit,
            self.counters,
        )
