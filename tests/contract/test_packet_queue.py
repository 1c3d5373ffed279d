"""What a packet queue promises: the kernel's and the fake one alike."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any, Protocol

import pytest
from nftables import Nftables

from builders import own_netns
from fakes import FakeClock, FakePacket, FakeQueue
from nfsnitch.adapters import nfqueue
from nfsnitch.adapters.nfqueue import (
    PACKETS_AT_ONCE,
    TIME_AT_ONCE_NS,
    KernelCounters,
    PacketQueue,
    QueuedPacket,
    QueueError,
)
from nfsnitch.adapters.nft import REJECT_MARK, NftRuleset
from nfsnitch.core.decision import Verdict
from nfsnitch.core.settings import FailMode, Settings

QUEUE_NUM = 17
PORT = 4_242
NO_SUCH_ID = 1 << 30
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
"""asm-generic/socket.h"""
REFUSED = f"""
table inet after {{
    counter refused {{ }}
    chain output {{
        type filter hook output priority 200; policy accept;
        meta mark {REJECT_MARK:#x} counter name refused drop
        meta mark != 0 drop
    }}
}}
"""


class SomeQueue(Protocol):
    """What both have."""

    @property
    def waiting(self) -> int: ...
    def drain(self, on_packet: Callable[[Any], None]) -> int: ...
    def give_verdict(self, packet_id: int, verdict: Verdict) -> None: ...
    def drop_all(self) -> int: ...


class Fake:
    """The fake queue, and what becomes of its packets."""

    def __init__(self) -> None:
        self.fake = FakeQueue()
        self.queue: SomeQueue = self.fake
        self._texts: dict[int, bytes] = {}

    def send(self, text: bytes) -> None:
        """Send a packet."""
        self.fake.send(text)

    def drain(self) -> list[FakePacket | QueuedPacket]:
        """Drain the queue once."""
        got: list[FakePacket | QueuedPacket] = []
        self.queue.drain(got.append)
        self._texts |= {packet.packet_id: packet.payload for packet in got}
        return got

    def arrived(self) -> list[bytes]:
        """Return what was accepted, in that order."""
        verdicts = self.fake.verdicts.items()
        return [self._texts[number] for number, given in verdicts if given is Verdict.ACCEPT]

    def refused(self) -> int:
        """Return how many were rejected."""
        return list(self.fake.verdicts.values()).count(Verdict.REJECT)


class Kernel(Fake):
    """The kernel's queue, with datagrams to ourselves in a namespace of our own."""

    def __init__(self, queue: PacketQueue, receiver: socket.socket, sender: socket.socket) -> None:
        self.queue = queue
        self._receiver, self._sender = receiver, sender

    def send(self, text: bytes) -> None:
        """Send a datagram; it has been queued when this returns."""
        self._sender.sendto(text, self._receiver.getsockname())

    def drain(self) -> list[FakePacket | QueuedPacket]:
        """Drain the queue once."""
        got: list[FakePacket | QueuedPacket] = []
        self.queue.drain(got.append)
        return got

    def arrived(self) -> list[bytes]:
        """Return what came through."""
        texts: list[bytes] = []
        while True:
            try:
                texts.append(self._receiver.recv(65_536, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return texts

    def refused(self) -> int:
        """Return how many carried the mark."""
        _, listed, _ = Nftables().cmd("list counter inet after refused")
        return int(listed.split("packets ")[1].split()[0])


def queue_datagrams() -> None:
    """Queue what goes to `PORT`, and nothing else, in the present network namespace."""
    if NftRuleset().can_queue():
        rule = f"udp dport {PORT} queue num {QUEUE_NUM}"
        chain = f"type filter hook output priority 0; policy accept; {rule}"
        code, _, problem = Nftables().cmd(f"table inet queueing {{ chain output {{ {chain}; }}; }}")
        assert code == 0, problem
        return
    rule = f"-A OUTPUT -p udp --dport {PORT} -j NFQUEUE --queue-num {QUEUE_NUM}"
    subprocess.run(["iptables-nft", "-w", *rule.split()], check=True)  # noqa: S607


@pytest.fixture(name="kernel")
def fixture_kernel() -> Iterator[Kernel]:
    with (
        own_netns(),
        closing(PacketQueue(QUEUE_NUM)) as queue,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", PORT))
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)  # what waits counts as sent
        code, _, problem = Nftables().cmd(REFUSED)
        assert code == 0, problem
        queue_datagrams()
        yield Kernel(queue, receiver, sender)


NEEDS_KERNEL = [pytest.mark.root, pytest.mark.netns]


@pytest.fixture(params=["fake", pytest.param("kernel", marks=NEEDS_KERNEL)])
def some(request: pytest.FixtureRequest) -> Fake:
    if request.param == "fake":
        return Fake()
    kernel: Kernel = request.getfixturevalue("kernel")
    return kernel


def test_each_packet_is_handed_out_once_and_in_order(some: Fake) -> None:
    for text in (b"one", b"two"):
        some.send(text)
    first = some.drain()
    some.send(b"three")
    second = some.drain()

    assert [packet.payload[-3:] for packet in first] == [b"one", b"two"]
    assert [packet.payload[-5:] for packet in second] == [b"three"]
    assert len({packet.packet_id for packet in (*first, *second)}) == 3
    assert some.drain() == []


def test_a_drain_says_how_many_there_were(some: Fake) -> None:
    for _ in range(3):
        some.send(b"x")

    assert some.queue.drain(lambda _packet: None) == 3
    assert some.queue.drain(lambda _packet: None) == 0


def test_what_waits_is_what_was_handed_out_and_has_no_verdict(some: Fake) -> None:
    some.send(b"x")
    some.send(b"y")
    assert some.queue.waiting == 0

    one, other = some.drain()
    assert some.queue.waiting == 2
    some.queue.give_verdict(other.packet_id, Verdict.DROP)
    assert some.queue.waiting == 1
    some.queue.give_verdict(one.packet_id, Verdict.DROP)
    assert some.queue.waiting == 0


@pytest.mark.parametrize("first", list(Verdict))
@pytest.mark.parametrize("second", list(Verdict))
def test_a_packet_takes_one_verdict_and_no_second(
    some: Fake, first: Verdict, second: Verdict
) -> None:
    some.send(b"x")
    (packet,) = some.drain()
    some.queue.give_verdict(packet.packet_id, first)

    with pytest.raises(KeyError):
        some.queue.give_verdict(packet.packet_id, second)

    assert len(some.arrived()) == (first is Verdict.ACCEPT)
    assert some.refused() == (first is Verdict.REJECT)


def test_a_verdict_on_a_packet_that_never_was_is_a_key_error(some: Fake) -> None:
    with pytest.raises(KeyError):
        some.queue.give_verdict(NO_SUCH_ID, Verdict.ACCEPT)


def test_verdicts_may_come_in_another_order_than_the_packets(some: Fake) -> None:
    for text in (b"one", b"two", b"six"):
        some.send(text)
    one, two, six = some.drain()

    some.queue.give_verdict(six.packet_id, Verdict.ACCEPT)
    some.queue.give_verdict(two.packet_id, Verdict.DROP)
    some.queue.give_verdict(one.packet_id, Verdict.ACCEPT)

    assert some.arrived() == [b"six", b"one"]


def test_a_verdict_may_be_given_while_the_packet_is_being_handed_out(some: Fake) -> None:
    for _ in range(3):
        some.send(b"x")

    some.queue.drain(lambda packet: some.queue.give_verdict(packet.packet_id, Verdict.REJECT))

    assert (some.queue.waiting, some.refused(), some.arrived()) == (0, 3, [])


def test_dropping_all_drops_what_waits_and_nothing_that_had_its_verdict(some: Fake) -> None:
    for text in (b"one", b"two", b"six"):
        some.send(text)
    one, *rest = some.drain()
    some.queue.give_verdict(one.packet_id, Verdict.ACCEPT)

    assert some.queue.drop_all() == 2
    assert some.queue.drop_all() == 0
    assert some.queue.waiting == 0
    assert some.arrived() == [b"one"]
    for packet in rest:
        with pytest.raises(KeyError):
            some.queue.give_verdict(packet.packet_id, Verdict.ACCEPT)


def test_what_is_queued_after_all_was_dropped_is_handed_out(some: Fake) -> None:
    some.send(b"x")
    some.drain()
    some.queue.drop_all()

    some.send(b"y")

    assert [packet.payload[-1:] for packet in some.drain()] == [b"y"]


@pytest.mark.root
@pytest.mark.netns
def test_a_packet_comes_with_its_interface_and_from_the_ip_header_on(kernel: Kernel) -> None:
    kernel.send(b"x" * 100)
    (packet,) = kernel.drain()

    assert packet.ifindex == socket.if_nametoindex("lo")
    assert packet.payload[0] >> 4 == 4
    assert len(packet.payload) == 20 + 8 + 100


@pytest.mark.root
@pytest.mark.netns
def test_of_a_large_packet_the_start_is_copied_and_all_of_it_sent_on(kernel: Kernel) -> None:
    kernel.send(b"x" * 40_000)
    (packet,) = kernel.drain()

    kernel.queue.give_verdict(packet.packet_id, Verdict.ACCEPT)

    assert 100 < len(packet.payload) <= 4_016
    assert kernel.arrived() == [b"x" * 40_000]


@pytest.mark.root
@pytest.mark.netns
def test_a_flood_is_taken_in_portions_and_seen_empty_only_at_its_end(kernel: Kernel) -> None:
    assert isinstance(kernel.queue, PacketQueue)
    for _ in range(PACKETS_AT_ONCE + 1):
        kernel.send(b"x")

    assert kernel.queue.drain(lambda _packet: None) == PACKETS_AT_ONCE
    assert kernel.queue.empty_ns == 0
    assert kernel.queue.drain(lambda _packet: None) == 1
    assert kernel.queue.empty_ns > 0
    assert kernel.queue.drop_all() == PACKETS_AT_ONCE + 1


@pytest.mark.root
@pytest.mark.netns
def test_a_queue_has_one_reader_and_is_free_again_when_that_one_closes_it(
    kernel: Kernel,
) -> None:
    assert isinstance(kernel.queue, PacketQueue)
    with pytest.raises(QueueError, match=f"queue {QUEUE_NUM} cannot be opened .*another program"):
        PacketQueue(QUEUE_NUM)
    with closing(PacketQueue(QUEUE_NUM + 1)) as other:
        other.close()
    with closing(PacketQueue(QUEUE_NUM + 1)) as again:
        assert again.waiting == 0


@pytest.mark.root
@pytest.mark.netns
def test_what_waits_when_the_queue_is_closed_never_leaves() -> None:
    with own_netns(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", PORT))
        queue_datagrams()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            queue = PacketQueue(QUEUE_NUM)
            kernel = Kernel(queue, receiver, sender)
            kernel.send(b"x")
            kernel.send(b"y")
            assert queue.waiting == 0
            kernel.drain()
            queue.close()

            assert kernel.arrived() == []


@pytest.mark.root
@pytest.mark.netns
def test_the_kernels_own_counters_begin_at_nothing(kernel: Kernel) -> None:
    assert isinstance(kernel.queue, PacketQueue)

    assert kernel.queue.kernel_counters() == KernelCounters(0, 0)
    assert kernel.queue.overruns == 0


@pytest.fixture(params=list(FailMode))
def short(request: pytest.FixtureRequest) -> Iterator[tuple[FailMode, Kernel]]:
    """Have a queue for 16 packets, whose socket has room for few."""
    fail: FailMode = request.param
    with (
        own_netns(),
        pytest.MonkeyPatch.context() as patch,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        patch.setattr(nfqueue, "_SOCKET_BYTES", 32_768)
        receiver.bind(("127.0.0.1", PORT))
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)  # what waits counts as sent
        queue_datagrams()
        with closing(PacketQueue(QUEUE_NUM, Settings(fail=fail, queue_length=16))) as queue:
            yield fail, Kernel(queue, receiver, sender)


@pytest.mark.root
@pytest.mark.netns
def test_what_a_full_queue_has_no_room_for_is_dropped_or_passes_as_was_chosen(
    short: tuple[FailMode, Kernel],
) -> None:
    fail, kernel = short
    assert isinstance(kernel.queue, PacketQueue)
    for number in range(20):
        with suppress(PermissionError):  # of what is dropped, its sender hears
            kernel.send(str(number).encode())
    passed = kernel.arrived()
    counters = kernel.queue.kernel_counters()
    got = kernel.drain()

    lost = [] if fail is FailMode.CLOSED else [b"16", b"17", b"18", b"19"]
    assert passed == lost
    assert counters.queue_dropped == (4 if fail is FailMode.CLOSED else 0)
    assert (counters.waiting, counters.queued, len(got)) == (16, 16, 16)


@pytest.mark.root
@pytest.mark.netns
def test_what_the_readers_socket_has_no_room_for_is_dropped_or_passes_as_was_chosen(
    short: tuple[FailMode, Kernel],
) -> None:
    fail, kernel = short
    assert isinstance(kernel.queue, PacketQueue)
    texts = [bytes([number]) * 20_000 for number in range(16)]
    for text in texts:
        with suppress(PermissionError, OSError):
            kernel.send(text)
    passed = kernel.arrived()
    counters = kernel.queue.kernel_counters()
    got = kernel.drain()

    lost = len(texts) - len(got)
    assert lost > 0
    assert len(passed) == (lost if fail is FailMode.OPEN else 0)
    assert counters.user_dropped == (lost if fail is FailMode.CLOSED else 0)
    assert counters.waiting == len(got)
    assert kernel.queue.overruns == 1


@pytest.mark.root
@pytest.mark.netns
def test_a_queue_takes_other_settings_while_packets_wait_in_it(
    short: tuple[FailMode, Kernel],
) -> None:
    _, kernel = short
    assert isinstance(kernel.queue, PacketQueue)
    for _ in range(3):
        kernel.send(b"x")

    kernel.queue.use(Settings(fail=FailMode.OPEN, queue_length=3))
    kernel.send(b"y")

    assert kernel.arrived() == [b"y"]
    assert len(kernel.drain()) == 3
    assert kernel.queue.drop_all() == 3


@pytest.mark.root
@pytest.mark.netns
def test_the_kernel_counts_as_waiting_what_has_no_verdict_read_or_not(kernel: Kernel) -> None:
    assert isinstance(kernel.queue, PacketQueue)
    for _ in range(3):
        kernel.send(b"x")
    unread = kernel.queue.kernel_counters().waiting
    first, *_ = kernel.drain()
    read = kernel.queue.kernel_counters().waiting
    kernel.queue.give_verdict(first.packet_id, Verdict.DROP)

    assert (unread, read, kernel.queue.kernel_counters().waiting) == (3, 3, 2)


@pytest.mark.root
@pytest.mark.netns
def test_packets_that_take_long_are_taken_in_smaller_portions_but_never_none(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(time.monotonic_ns())
    monkeypatch.setattr("nfsnitch.adapters.nfqueue.time.monotonic_ns", clock)

    def slowly(_packet: QueuedPacket) -> None:
        clock.now_ns += TIME_AT_ONCE_NS // 2 + 1

    for _ in range(5):
        kernel.send(b"x")

    assert isinstance(kernel.queue, PacketQueue)
    taken = [kernel.queue.drain(slowly) for _ in range(4)]

    assert taken == [2, 2, 1, 0]


@pytest.mark.root
@pytest.mark.netns
def test_a_descriptor_polls_readable_as_long_as_packets_wait(kernel: Kernel) -> None:
    assert isinstance(kernel.queue, PacketQueue)
    fd = kernel.queue.fileno()

    kernel.send(b"x")
    before = select_readable(fd)
    kernel.drain()

    assert (before, select_readable(fd)) == (True, False)


def select_readable(fd: int) -> bool:

    return bool(select.select([fd], [], [], 0)[0])
