"""The review of flows under way, once the rules have come to say something else."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Callable, Iterator

from nfsnitch.core.counters import Counter
from nfsnitch.core.events import LiveFlow

_STEP_S = 0.002
"""A packet that comes meanwhile waits so long at most."""
_ROUND_S = 0.02
"""All else that the event loop does waits so long at most: one round of it takes as long where
packets follow one another closely (`intake`), and a review has many steps."""
_ATTEMPTS = 3

_log = logging.getLogger(__name__)


class FlowReview:
    """Looks at every flow under way, in steps between which packets are decided."""

    def __init__(
        self,
        look: Callable[[], Iterator[LiveFlow | None]],
        reviewed: Callable[[LiveFlow], None],
        counters: collections.Counter[Counter],
        packets: Callable[[], None],
    ) -> None:
        """Hand each flow that *look* yields to *reviewed*; *packets* handles those that wait."""
        self._look = look
        self._packets = packets
        self._reviewed = reviewed
        self._counters = counters

    async def run(self) -> int:
        """Review all; return how many flows were cut."""
        cut_before = self._counters[Counter.FLOWS_CUT]
        for _ in range(_ATTEMPTS):
            try:
                await self._in_steps()
                break
            except OSError as problem:
                # Each flow that was seen has been dealt with; another look does the rest.
                self._counters[Counter.REVIEW_ERRORS] += 1
                _log.error("flows under way could not all be reviewed: %s", problem)
        return self._counters[Counter.FLOWS_CUT] - cut_before

    async def _in_steps(self) -> None:
        began_s = round_s = time.monotonic()
        for live in self._look():
            if live is not None:
                self._reviewed(live)
            now_s = time.monotonic()
            if now_s - began_s < _STEP_S:
                continue
            self._packets()
            if now_s - round_s >= _ROUND_S:
                await asyncio.sleep(0)
                round_s = time.monotonic()
            began_s = time.monotonic()
