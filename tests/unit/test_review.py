"""The review of flows under way: in steps, between which packets are decided."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from unittest.mock import patch

import builders
from nfsnitch.core.counters import Counter
from nfsnitch.core.events import LiveFlow
from nfsnitch.review import FlowReview

STEP_S = 0.003
"""What each look at a flow takes here."""


class Table:
    """A table of flows; to look at each takes time by a clock of its own."""

    def __init__(self, flows: int) -> None:
        self.now_s = 1_000.0
        self.flows = flows
        self.happened: list[str] = []

    def look(self) -> Iterator[LiveFlow | None]:
        for _ in range(self.flows):
            self.now_s += STEP_S
            self.happened.append("look")
            yield None

    def packets(self) -> None:
        self.happened.append("packets")

    def clock_s(self) -> float:
        return self.now_s

    def reviewed(self) -> list[str]:
        """Review all, beside a task that takes note of each round of the loop."""
        counters: collections.Counter[Counter] = collections.Counter()
        review = FlowReview(self.look, lambda _: None, counters, self.packets)

        async def beside() -> None:
            while True:
                self.happened.append("round")
                await asyncio.sleep(0)

        async def both() -> None:
            rounds = asyncio.create_task(beside())
            await review.run()
            rounds.cancel()

        with patch("nfsnitch.review.time.monotonic", self.clock_s):
            asyncio.run(both())
        return self.happened


def test_packets_are_handled_after_each_step_of_a_review() -> None:
    happened = Table(20).reviewed()

    assert happened.count("look") == 20
    for at, what in enumerate(happened):
        if what == "look":
            assert happened[at + 1] == "packets"


def test_a_review_of_many_steps_leaves_the_loop_a_few_rounds() -> None:
    happened = Table(70).reviewed()

    # 70 steps of 3 ms, and a round each 20 ms.
    assert happened.count("round") == 70 // 7


def test_each_flow_that_is_found_is_reviewed_once() -> None:
    live = builders.live_flow()
    seen: list[LiveFlow] = []
    review = FlowReview(
        lambda: iter([None, live, None]), seen.append, collections.Counter(), lambda: None
    )

    assert asyncio.run(review.run()) == 0
    assert seen == [live]
