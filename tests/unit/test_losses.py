"""The kernel's counters are asked for when there may be something new in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.adapters.losses import Losses
from nfsnitch.adapters.nfqueue import KernelCounters, PacketQueue


@dataclass
class Queue:
    """A queue whose counters the test sets."""

    waiting: int = 0
    dropped: int = 0
    asked: int = 0

    def kernel_counters(self) -> KernelCounters:
        """Return them."""
        self.asked += 1
        return KernelCounters(self.dropped, 0)


def test_what_the_kernel_has_dropped_is_noted_with_the_packets_and_not_asked_for_without(
    tmp_path: Path,
) -> None:
    ledger, queue = Ledger(1, tmp_path), Queue()
    losses = Losses(cast("Enforcement", None), cast("PacketQueue", queue), ledger)

    def noted() -> int:
        losses.note()
        return ledger.queue_dropped

    assert noted() == 0
    asked = queue.asked
    assert asked == 1
    assert noted() == 0
    assert queue.asked == asked

    queue.dropped = 3
    ledger.note_evaluated()
    assert noted() == 3
    queue.dropped, queue.waiting = 5, 1  # none has a verdict yet
    assert noted() == 5
    ledger.close()
