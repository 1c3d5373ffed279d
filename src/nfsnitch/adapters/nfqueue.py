"""The kernel's packet queue (NFQUEUE), by way of the package NetfilterQueue."""

from __future__ import annotations

import collections
import errno
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from netfilterqueue import NetfilterQueue, Packet

from nfsnitch.adapters.nfqueue_config import QueueFlag, configure
from nfsnitch.adapters.queued_conntrack import before_translation
from nfsnitch.core.decision import Verdict
from nfsnitch.core.flow import Flow
from nfsnitch.core.passage import Passage
from nfsnitch.core.settings import MAX_MARK, FailMode, Settings

PACKETS_AT_ONCE = 256
"""After so many, `drain` returns, so that nothing else starves in a flood."""
TIME_AT_ONCE_NS = 20_000_000
"""After so long it does, too, where packets take their time."""

_NETLINK_NETFILTER = 12
"""linux/netlink.h"""
_SOCKET_BYTES = 16 << 20
_FORWARD = 2
"""NF_INET_FORWARD, linux/netfilter.h"""
_TAKE, _LOOK = int(socket.MSG_DONTWAIT), int(socket.MSG_DONTWAIT | socket.MSG_PEEK)
"""Plain numbers: to put flags together costs more than the system call."""
_COUNTERS = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")


class QueueError(Exception):
    """The queue cannot be had; the message says why and what to do."""


class QueuedPacket(NamedTuple):
    """A packet that waits in the kernel for its verdict."""

    packet_id: int
    payload: bytes
    """From the IP header on; at most 4,016 bytes, which is as much as the package copies."""
    ifindex: int
    """The interface through which it would leave."""
    passage: Callable[[Flow], Passage] | None = None
    """Tells how a packet came that is forwarded, given its flow; None: this machine sends it."""


class KernelCounters(NamedTuple):
    """What the kernel itself counts of a queue (net/netfilter/nfnetlink_queue.c, seq_show)."""

    queue_dropped: int
    user_dropped: int
    waiting: int = 0
    """Packets without a verdict, those that this process has been handed included."""
    queued: int = 0
    """Number of the last packet: so many have been queued, and it may have lost `user_dropped`."""


class _BoundedReader:
    """Hands netlink messages to the package's loop, so many and no more, and counts overruns.

    The package's own loop goes on until the queue is empty, which in a flood is never, and takes
    no notice of ENOBUFS, by which the kernel says that messages were lost.
    """

    def __init__(self, netlink: socket.socket) -> None:
        self._recv = netlink.recv
        self.message = b""
        """The one that was returned last."""
        self.earlier: collections.deque[bytes] = collections.deque()
        """Messages that were read while waiting for another one."""
        self.left = 0
        self.until_ns = 0
        self.overruns = 0
        self.empty_ns = 0

    def recv(self, size: int) -> bytes:
        """Return the next message, as the method of `socket.socket` does."""
        if self.earlier and self.left:
            self.left -= 1
            self.message = self.earlier.popleft()
            return self.message
        asked_ns = time.monotonic_ns()
        # One is always read: who drains the queue to its end goes by how many there were.
        if not self.left or (asked_ns > self.until_ns and self.left < PACKETS_AT_ONCE):
            self._read(1, asked_ns, _LOOK)
            raise BlockingIOError(errno.EAGAIN, "enough for now")
        self.message = self._read(size, asked_ns, _TAKE)
        self.left -= 1
        return self.message

    def _read(self, size: int, asked_ns: int, flags: int) -> bytes:
        """Read, and note if there is nothing: also where it is only looked at, being late."""
        try:
            return self._recv(size, flags)
        except BlockingIOError:
            self.empty_ns = asked_ns
            raise
        except OSError as problem:
            if problem.errno == errno.ENOBUFS:
                self.overruns += 1
            raise


class PacketQueue:
    """One queue of the network namespace in which it is opened."""

    def __init__(
        self,
        queue_num: int,
        settings: Settings | None = None,
        on_verdict: Callable[[], None] = lambda: None,
        *,
        forward: bool = False,
    ) -> None:
        """Bind to *queue_num*, by the defaults unless *settings* say more.

        *on_verdict* is called after each verdict that the kernel has been told. With *forward* it
        is asked of forwarded packets what their destination was before it was translated.

        Raises:
            QueueError: not allowed, or another program has the queue.

        """
        settings = settings or Settings()
        self._queue_num = queue_num
        self.tells_conntrack = forward
        """Whether the kernel says of forwarded packets what their destination was."""
        self._on_verdict = on_verdict
        self._reject_mark = settings.reject_mark
        self._keep_mask = MAX_MARK ^ settings.queue_bit
        self._name_bit = settings.name_bit
        self._on_packet: Callable[[QueuedPacket], None] | None = None
        self._waiting: dict[int, Packet] = {}
        self.failed = 0
        """Packets dropped since there was no memory to hand them out."""
        self._queue = NetfilterQueue()
        try:
            self._queue.bind(
                queue_num, self._arrived, max_len=settings.queue_length, sock_len=_SOCKET_BYTES
            )
        except OSError as problem:
            raise QueueError(
                f"queue {queue_num} cannot be opened ({problem}): another program has it, or this "
                "one lacks CAP_NET_ADMIN; choose another with --queue, or run as root"
            ) from problem
        self._netlink = socket.fromfd(
            self._queue.get_fd(), socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER
        )
        self._reader = _BoundedReader(self._netlink)
        self._readable = select.poll()
        self._readable.register(self._netlink, select.POLLIN)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by the `fail` and `queue_length` of *settings* from here on.

        Packets may have to be read for that: see `has_read`.

        Raises:
            QueueError: the kernel refused.

        """
        flags = QueueFlag.GSO
        if settings.fail is FailMode.OPEN:
            flags |= QueueFlag.FAIL_OPEN
        try:
            if self.tells_conntrack:
                self.tells_conntrack = self._can_tell_conntrack(settings, flags)
            if not self.tells_conntrack:
                self._configure(settings, flags)
        except OSError as problem:
            text = f"queue {self._queue_num} does not take its settings: {problem}"
            raise QueueError(text) from problem

    def _can_tell_conntrack(self, settings: Settings, flags: QueueFlag) -> bool:
        try:
            self._configure(settings, flags | QueueFlag.CONNTRACK)
        except OSError as problem:
            if problem.errno != errno.EOPNOTSUPP:  # without CONFIG_NETFILTER_NETLINK_GLUE_CT
                raise
            return False
        return True

    def _configure(self, settings: Settings, flags: QueueFlag) -> None:
        length, on_packet = settings.queue_length, self._reader.earlier.append
        configure(self._netlink, self._queue_num, length, flags, on_packet)

    def fileno(self) -> int:
        """Return the descriptor that is readable when packets wait."""
        return self._netlink.fileno()

    @property
    def has_read(self) -> bool:
        """Whether packets wait here that make the descriptor readable no more: `drain` again."""
        return bool(self._reader.earlier)

    @property
    def overruns(self) -> int:
        """How often the kernel said that this socket had been full."""
        return self._reader.overruns

    @property
    def empty_ns(self) -> int:
        """When the queue was last seen empty (monotonic): all packets from before are known."""
        return self._reader.empty_ns

    @property
    def waiting(self) -> int:
        """How many packets have been handed out that have no verdict yet."""
        return len(self._waiting)

    def drain(self, on_packet: Callable[[QueuedPacket], None]) -> int:
        """Hand what waits to *on_packet*, which must not raise; returns the number of messages.

        At most `PACKETS_AT_ONCE` of them, for about `TIME_AT_ONCE_NS`, and without waiting for
        more; it is 0 only if none waited.
        """
        self._on_packet = on_packet
        self._reader.left = PACKETS_AT_ONCE
        self._reader.until_ns = time.monotonic_ns() + TIME_AT_ONCE_NS
        self._queue.run_socket(self._reader)
        return PACKETS_AT_ONCE - self._reader.left

    def wait(self, timeout_ms: int) -> bool:
        """Wait for another packet; return whether one came."""
        return bool(self._readable.poll(timeout_ms))

    def give_verdict(self, packet_id: int, verdict: Verdict) -> None:
        """Tell the kernel what becomes of a packet.

        Raises:
            KeyError: no such packet waits; it may have had its verdict.

        """
        packet = self._waiting.pop(packet_id)
        if verdict is Verdict.DROP:
            packet.drop()
        else:
            # The bit goes: what keeps it has not been evaluated (nft/nfsnitch.nft).
            kept = packet.get_mark() & self._keep_mask
            if verdict is Verdict.PEEK:
                kept |= self._name_bit
            packet.set_mark(self._reject_mark if verdict is Verdict.REJECT else kept)
            packet.accept()
        self._on_verdict()

    def drop_all(self) -> int:
        """Drop every packet that still waits; returns how many there were."""
        left = list(self._waiting)
        for packet_id in left:
            self.give_verdict(packet_id, Verdict.DROP)
        return len(left)

    def kernel_counters(self) -> KernelCounters:
        """Return what the kernel counts of this queue."""
        for line in _COUNTERS.read_text("ascii").splitlines():
            fields = line.split()
            if int(fields[0]) == self._queue_num:
                return KernelCounters(*(int(fields[place]) for place in (5, 6, 2, 7)))
        return KernelCounters(0, 0)

    def close(self) -> None:
        """Give the queue back; the kernel drops what still waits in it."""
        self._queue.unbind()
        self._netlink.close()

    def _arrived(self, packet: Packet) -> None:
        self._waiting[packet.id] = packet
        if self._on_packet is None:
            return
        try:
            passage = self._passage_of(packet) if packet.hook == _FORWARD else None
            queued = QueuedPacket(packet.id, packet.get_payload(), packet.outdev, passage)
        except MemoryError:
            # Nobody will ask for it: it must have its verdict now.
            self.failed += 1
            self.give_verdict(packet.id, Verdict.DROP)
        else:
            self._on_packet(queued)

    def _passage_of(self, packet: Packet) -> Callable[[Flow], Passage]:
        message, ifindex, port = self._reader.message, packet.indev, packet.physindev
        return lambda flow: Passage(ifindex, port, before_translation(message, flow))
