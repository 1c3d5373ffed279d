"""Waiting for the next packet: awake where it comes soon, asleep where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from nfsnitch.lookout import ASLEEP_MS, AWAKE_NS, Lookout

_LOOK_NS = 1_000
"""What one look takes in these tests."""


@dataclass
class Packets:
    """A queue, and the time until the next packet comes into it (None: none will)."""

    after_ns: int | None
    now_ns: int = 0
    asleep: int = 0
    looks: int = 0

    def wait(self, timeout_ms: int) -> bool:
        """Wait, as poll(2) does."""
        began_ns, until_ns = self.now_ns, self.now_ns + max(timeout_ms * 10**6, _LOOK_NS)
        self.asleep += timeout_ms > 0
        self.looks += timeout_ms == 0
        self.now_ns = until_ns
        if self.after_ns is None:
            return False
        self.after_ns -= until_ns - began_ns
        if self.after_ns > 0:
            return False
        self.now_ns += self.after_ns  # it is woken up as soon as it comes
        return True

    def comes(self, lookout: Lookout, after_ns: int | None) -> bool:
        """Wait for one that comes after so long."""
        self.after_ns, self.asleep, self.looks = after_ns, 0, 0
        return lookout.another()


def looking_out(processors: int = 2) -> tuple[Packets, Lookout]:
    packets = Packets(None)
    return packets, Lookout(packets.wait, lambda: packets.now_ns, lambda: processors)


def test_who_waits_for_the_first_packet_sleeps() -> None:
    packets, lookout = looking_out()

    assert packets.comes(lookout, AWAKE_NS // 2)

    assert (packets.asleep, packets.looks) == (1, 0)


def test_where_the_last_one_came_soon_the_next_is_looked_for_awake() -> None:
    packets, lookout = looking_out()
    assert packets.comes(lookout, AWAKE_NS // 2)

    for _ in range(3):
        assert packets.comes(lookout, AWAKE_NS // 2)
        assert not packets.asleep


def test_one_look_in_vain_is_followed_by_sleep_until_a_packet_comes_as_soon_once_more() -> None:
    packets, lookout = looking_out()
    assert packets.comes(lookout, AWAKE_NS // 2)

    assert packets.comes(lookout, 5 * AWAKE_NS)
    assert (packets.asleep, packets.looks * _LOOK_NS) == (1, AWAKE_NS)
    for _ in range(3):
        assert packets.comes(lookout, 5 * AWAKE_NS)
        assert (packets.asleep, packets.looks) == (1, 0)

    assert packets.comes(lookout, AWAKE_NS // 2)
    assert packets.comes(lookout, AWAKE_NS // 2)
    assert not packets.asleep


def test_where_none_comes_nobody_stays_awake() -> None:
    packets, lookout = looking_out()
    assert packets.comes(lookout, AWAKE_NS // 2)

    began_ns = packets.now_ns
    assert not packets.comes(lookout, None)
    assert packets.now_ns - began_ns <= AWAKE_NS + ASLEEP_MS * 10**6
    assert not packets.comes(lookout, None)
    assert not packets.looks


def test_on_the_only_processor_who_waits_lets_the_sender_run() -> None:
    packets, lookout = looking_out(processors=1)

    for _ in range(3):
        assert packets.comes(lookout, AWAKE_NS // 2)
        assert (packets.asleep, packets.looks) == (1, 0)
