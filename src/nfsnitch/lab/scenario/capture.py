"""What passes the wires of a scenario's network, and the certainty that nothing more will."""

from __future__ import annotations

import collections
import errno
import itertools
import os
import select
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nfsnitch.lab.inside import inside
from nfsnitch.lab.scenario import markers
from nfsnitch.lab.scenario.model import Network
from nfsnitch.lab.scenario.tap import Passed, Tap
from nfsnitch.lab.scenario.wiring import End, by_distance, end_at, ends, ends_of
from nfsnitch.lab.waiting import PATIENCE, Deadline, TimeIsOverError
from nfsnitch.lab.world import CLIENT, World

MAX_BYTES = 16 << 20
"""How much is kept of each end of a wire; then the oldest frames go, and are counted."""
SETTLING_S = 20.0
_FRAME_OVERHEAD_BYTES = 200
_RETRY_S = 0.2
_ALL_LOST = 100.0
_NO_WIRE = frozenset({errno.ENOBUFS, errno.ENETDOWN})
"""What the kernel says while it finds out that the other end is down."""
_QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
_PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
"""Times in nanoseconds, Ethernet (pcap-savefile(5))."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, as a host saw it."""

    number: int
    """Frames are numbered as they were read, from 0 on."""
    time_ns: int
    """Wall clock, since 1970."""
    host: str
    interface: str
    """The veth device; a frame of a VLAN has its tag."""
    is_outgoing: bool
    data: bytes
    """From the hardware addresses on. What the kernel leaves to network cards is not done:
    checksums of the hosts' own packets, and the cutting of long TCP segments."""


class _Kept:
    """The frames of one tap with their numbers, as many as there is room for."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self.frames: collections.deque[tuple[int, Passed]] = collections.deque()
        self.gone = 0

    def append(self, number: int, passed: Passed) -> None:
        self.frames.append((number, passed))
        self._bytes += len(passed.data) + _FRAME_OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            _, oldest = self.frames.popleft()
            self._bytes -= len(oldest.data) + _FRAME_OVERHEAD_BYTES
            self.gone += 1

    def clear(self) -> None:
        self.frames.clear()
        self._bytes = 0


class Captures:
    """Captures all wires of a world's network, from `__enter__` until `__exit__`.

    In the client nothing is opened, because the firewall tells of packet sockets: what the client
    sends is what comes out of its wires, and what arrives there is what is put onto them.
    """

    def __init__(self, world: World, network: Network, max_bytes: int = MAX_BYTES) -> None:
        """Prepare to capture *network*, which *world* is made of."""
        self._world, self._network = world, network
        self._stack = ExitStack()
        self._taps: dict[int, Tap] = {}
        """By the number of their end."""
        self._kept = {end.index: _Kept(max_bytes) for end in ends(network) if end.host != CLIENT}
        self._overrun = 0
        self._next = 0
        self._markers = itertools.count(1)
        self._seen: set[int] = set()
        """Numbers of the markers that have come where they were to."""

    def __enter__(self) -> Self:
        """Begin."""
        with ExitStack() as stack:
            for end in ends(self._network):
                if end.host != CLIENT:
                    tap = Tap(self._world.netns(end.host), end.name)
                    self._taps[end.index] = stack.enter_context(tap)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End; what has been read stays, to be written."""
        self._read()
        self._overrun = sum(tap.dropped for tap in self._taps.values())
        self._stack.close()
        self._taps.clear()

    @property
    def dropped(self) -> int:
        """Return how many frames were not kept: too many at once, or more than `max_bytes`."""
        gone = sum(kept.gone for kept in self._kept.values())
        return self._overrun + gone + sum(tap.dropped for tap in self._taps.values())

    def descriptors(self) -> list[int]:
        """Return the descriptors that are readable when something has passed (for poll)."""
        return [tap.fileno() for tap in self._taps.values()]

    def mark(self) -> int:
        """Return the number that the next frame will get, for `frames`."""
        self._read()
        return self._next

    def frames(self, host: str, interface: str | None = None, since: int = 0) -> list[Frame]:
        """Return what has passed at *host* by now, oldest first, from number *since* on.

        *interface* None is all of the host's wires; a VLAN's interface is as good as the one below
        it. The lab's own markers are not among them. Loopback is no wire.

        Raises:
            LabError: there is no such interface.

        """
        self._read()
        network = self._network
        having = [end_at(network, host, interface)] if interface else ends_of(network, host)
        found = [
            _frame(number, passed, end)
            for end in having
            for number, passed in self._kept[_listener(end)].frames
            if number >= since
        ]
        # Taps are read one after the other.
        return sorted(found, key=lambda frame: frame.time_ns)

    def wait(self, timeout_s: float) -> bool:
        """Wait until something passes; tell whether it did before the time was over."""
        if self._read():
            return True
        self._poll(Deadline(timeout_s))
        return self._read()

    def clear(self) -> None:
        """Forget all frames; numbers go on."""
        self._read()
        for kept in self._kept.values():
            kept.clear()

    def settled(self, timeout_s: float = SETTLING_S) -> None:
        """Return once all frames that are under way now, and what they lead to, have arrived.

        So `frames` tells all there is, and nothing that is not there will come. Packets that wait
        in the firewall's queue are not under way (see `waiting`), nor is what a program has yet to
        send. A wire that loses everything, or whose end is down, has nothing under way.

        Raises:
            TimeIsOverError: a marker does not come back.

        """
        deadline = Deadline(timeout_s)
        pairs = by_distance(self._network)
        for near, far in pairs:
            self._pass(near, far, deadline)
        for near, far in reversed(pairs):
            self._pass(far, near, deadline)

    def write(self, folder: Path) -> list[Path]:
        """Write a pcap file for each interface of each host into *folder*; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        return [self._write(folder, end) for end in ends(self._network)]

    def _write(self, folder: Path, end: End) -> Path:
        path = folder / f"{end.host}-{end.name}.pcap"
        with path.open("wb") as file:
            file.write(_PCAP_HEAD)
            for frame in self.frames(end.host, end.name):
                seconds, nanoseconds = divmod(frame.time_ns, 1_000_000_000)
                size = len(frame.data)
                file.write(struct.pack("<IIII", seconds, nanoseconds, size, size) + frame.data)
        return path

    def _read(self) -> bool:
        """Read all that waits; tell whether there were frames."""
        before = self._next
        for index, tap in self._taps.items():
            while passed := tap.read():
                self._keep(index, passed)
        return self._next > before

    def _keep(self, index: int, passed: Passed) -> None:
        if marker := markers.read(passed.data):
            if not passed.is_outgoing:
                self._seen.add(marker)
            return
        self._kept[index].append(self._next, passed)
        self._next += 1

    def _pass(self, from_: End, to: End, deadline: Deadline) -> None:
        """Wait until all that was sent from one end has come to the other."""
        # What the client would send, it answers to the other end of its wire.
        sender = self._taps[_listener(from_)]
        if from_.wire.loss >= _ALL_LOST:
            return
        self._seen.clear()
        sent: dict[int, set[int]] = {cpu: set() for cpu in os.sched_getaffinity(0)}
        while deadline.left_s():
            if not sender.is_up:  # which the kernel may find out a moment after the other end
                return
            for cpu in [cpu for cpu, numbers in sent.items() if not numbers & self._seen]:
                number = next(self._markers) % markers.NUMBERS
                sent[cpu].add(number)
                with _on_processor(cpu), _losing_what_finds_no_wire():
                    sender.send(markers.marker(number, from_, to))
            # Not longer where all takes longer: one marker too many does no harm.
            pause_s = (_RETRY_S + 2e-9 * from_.wire.delay_ns) / PATIENCE
            if self._have_come(sent, Deadline(min(pause_s, deadline.left_s()))):
                return
        raise TimeIsOverError(
            f"what {from_.host} sends to {to.host} does not arrive in {deadline.timeout_s:g} s"
        )

    def _have_come(self, sent: Mapping[int, set[int]], deadline: Deadline) -> bool:
        """Wait until one of each processor's markers has come; tell whether that was in time."""
        while True:
            self._read()
            if all(numbers & self._seen for numbers in sent.values()):
                return True
            if not deadline.left_ms():
                return False
            self._poll(deadline)

    def _poll(self, deadline: Deadline) -> None:
        poll = select.poll()
        for descriptor in self.descriptors():
            poll.register(descriptor, select.POLLIN)
        poll.poll(deadline.left_ms())


def waiting(world: World, host: str = CLIENT) -> int:
    """Return how many packets wait in all of a host's NFQUEUEs for a verdict.

    From /proc/net/netfilter/nfnetlink_queue; 0 also where nobody has bound a queue.
    """

    def count() -> int:
        try:
            lines = _QUEUES.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:  # the module is not even loaded
            return 0
        # net/netfilter/nfnetlink_queue.c, seq_show(): queue, port, waiting, ...
        return sum(int(line.split()[2]) for line in lines)

    return inside(world.netns(host), count)


def _listener(end: End) -> int:
    """Return the number of the end whose tap shows what passes at *end*."""
    return end.peer_index if end.host == CLIENT else end.index


def _frame(number: int, passed: Passed, end: End) -> Frame:
    is_own = _listener(end) == end.index
    is_outgoing = passed.is_outgoing is is_own
    return Frame(number, passed.time_ns, end.host, end.name, is_outgoing, passed.data)


@contextmanager
def _losing_what_finds_no_wire() -> Iterator[None]:
    """Take a frame for lost that cannot be sent since an end of the wire goes down."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in _NO_WIRE:
            raise


@contextmanager
def _on_processor(cpu: int) -> Iterator[None]:
    """Run on that one: what it puts onto a wire stands behind what that processor has put there.

    What crosses a veth pair waits in a queue of the processor that sent it.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
