"""What the kernel's packet queue does besides: its portions, its one reader, its lack of room."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from builders import own_netns
from fakes import FakeClock
from nfsnitch.adapters import nfqueue
from nfsnitch.adapters.nfqueue import (
    PACKETS_AT_ONCE,
    TIME_AT_ONCE_NS,
    KernelCounters,
    PacketQueue,
    QueuedPacket,
    QueueError,
)
from nfsnitch.core.decision import Verdict
from nfsnitch.core.settings import FailMode, Settings
from queue_play import (
    PORT,
    QUEUE_NUM,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    Kernel,
    queue_datagrams,
)


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
