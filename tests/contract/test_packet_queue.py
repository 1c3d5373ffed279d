"""What a packet queue promises: the kernel's and the fake one alike."""

from __future__ import annotations

import pytest

from nfsnitch.core.decision import Verdict
from queue_play import Fake, Kernel

NO_SUCH_ID = 1 << 30
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
