"""From the queue to the worker: who waits for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

import pytest

from nfsnitch.adapters.nfqueue import PacketQueue, QueuedPacket
from nfsnitch.intake import Intake
from nfsnitch.worker import Worker


@dataclass
class Burst:
    """A queue into which one packet comes after the other, and a worker that takes note."""

    to_come: int
    """Each comes when the one before has been taken, and somebody waits for it."""
    there: int = 1
    has_read: bool = False
    arrived: list[int] = field(default_factory=list)
    waits: int = 0
    on_packet: Callable[[], None] = lambda: None

    def drain(self, take: Callable[[QueuedPacket], None]) -> int:
        """Hand out what is there."""
        number, self.there = self.there, 0
        for _ in range(number):
            take(QueuedPacket(len(self.arrived) + 1, b"", 2))
        return number

    def wait(self, timeout_ms: int) -> bool:
        """Let the next one come, if there is one."""
        assert timeout_ms <= 1
        self.waits += 1
        if not self.to_come:
            return False
        self.to_come -= 1
        self.there = 1
        return True

    def packet_arrived(self, packet: QueuedPacket) -> None:
        """Take note."""
        self.arrived.append(packet.packet_id)
        self.on_packet()


@pytest.fixture(name="loop")
def fixture_loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


def intake(
    burst: Burst, loop: asyncio.AbstractEventLoop, afterwards: Callable[[], None] = lambda: None
) -> Intake:
    return Intake(loop, cast("PacketQueue", burst), cast("Worker", burst), lambda: None, afterwards)


def test_packets_that_follow_one_another_closely_need_no_round_of_the_loop_each(
    loop: asyncio.AbstractEventLoop,
) -> None:
    burst, between = Burst(to_come=5), list[int]()

    intake(burst, loop, lambda: between.append(len(burst.arrived))).linger()

    assert burst.arrived == [1, 2, 3, 4, 5, 6]
    assert between == [1, 2, 3, 4, 5, 6]  # what is left to be done afterwards waits for no round


def test_where_no_packet_was_nobody_waits_for_another(loop: asyncio.AbstractEventLoop) -> None:
    burst = Burst(to_come=5, there=0)

    intake(burst, loop).linger()

    assert not burst.waits


def test_however_many_follow_the_loop_has_its_turn(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst, now_s = Burst(to_come=10**9), [0.0]
    monkeypatch.setattr(loop, "time", lambda: now_s[0])

    def takes_a_millisecond() -> None:
        now_s[0] += 0.001

    burst.on_packet = takes_a_millisecond
    intake(burst, loop).linger()

    assert 10 < len(burst.arrived) < 30


def test_what_has_been_read_already_is_looked_at_in_the_next_round(
    loop: asyncio.AbstractEventLoop,
) -> None:
    burst = Burst(to_come=0, has_read=True)

    intake(burst, loop).linger()
    assert burst.arrived == [1]
    assert not burst.waits  # the descriptor would not tell of it

    burst.there, burst.has_read = 1, False
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert burst.arrived == [1, 2]
