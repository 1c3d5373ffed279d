"""Takes what the kernel has queued to the worker, packet by packet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nfsnitch.adapters.nfqueue import PacketQueue, QueuedPacket
from nfsnitch.lookout import Lookout
from nfsnitch.worker import Worker

_LINGER_AT_MOST_S = 0.02


class Intake:
    """Reads the queue, whenever there may be something in it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: PacketQueue,
        worker: Worker,
        alive: Callable[[], None],
        afterwards: Callable[[], None],
    ) -> None:
        """*alive* is called before each packet, *afterwards* after each look."""
        self._loop, self._queue, self._worker = loop, queue, worker
        self._alive, self._afterwards = alive, afterwards
        self._lookout = Lookout(queue.wait)

    def look(self) -> None:
        """Handle some of what is there; what is left comes with the loop's next round."""
        self._queue.drain(self._packet)
        if self._queue.has_read:
            self._loop.call_soon(self.look)
        self._afterwards()

    def linger(self) -> None:
        """Handle what is there, and what comes while packets follow one another closely.

        One round of the loop takes longer than a packet's way to its verdict. So it is left waiting
        for a moment after each packet, in which the next one of a burst mostly comes, but not for
        longer than it can do without.
        """
        until_s = self._loop.time() + _LINGER_AT_MOST_S
        while self._queue.drain(self._packet):
            if self._queue.has_read or self._loop.time() >= until_s:
                break
            self._afterwards()
            if not self._lookout.another():
                return
        if self._queue.has_read:
            self._loop.call_soon(self.look)
        self._afterwards()

    def empty(self) -> None:
        """Handle all that is there."""
        while self._queue.drain(self._packet):
            pass

    def _packet(self, packet: QueuedPacket) -> None:
        self._alive()
        self._worker.packet_arrived(packet)
