"""The event loop of the one thread: descriptors, one-shot timers, signals.

Not asyncio: its turn costs about as much as everything else that is done for a packet.
"""

from __future__ import annotations

import heapq
import itertools
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol

Callback = Callable[[], None]


class HasFileno(Protocol):
    """Something that can be polled."""

    def fileno(self) -> int:
        """Return the descriptor."""


class EventLoop:
    """Calls back when descriptors are ready, when times have come and when signals arrive."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[tuple[int, int, Callback]] = []
        self._order = itertools.count()
        self._running = False
        self._wakeup_in, self._wakeup_out = socket.socketpair()
        for end in (self._wakeup_in, self._wakeup_out):
            end.setblocking(False)  # noqa: FBT003  the method has no other way
        self.add_reader(self._wakeup_out, self._signalled)
        self._on_signal: dict[int, Callback] = {}

    def add_reader(self, source: HasFileno, callback: Callback) -> None:
        """Call *callback* whenever *source* is readable."""
        self._readers[source.fileno()] = callback
        self._epoll.register(source.fileno(), select.EPOLLIN)

    def call_at(self, monotonic_ns: int, callback: Callback) -> None:
        """Call *callback* once, at this time of the monotonic clock or soon after."""
        heapq.heappush(self._timers, (monotonic_ns, next(self._order), callback))

    def on_signal(self, number: signal.Signals, callback: Callback) -> None:
        """Call *callback* from the loop, not from within the signal, when *number* arrives."""
        self._on_signal[number] = callback
        signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._wakeup_in.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Run until `stop` is called from a callback."""
        self._running = True
        while self._running:
            for descriptor, _ in self._epoll.poll(self._timeout_s()):
                self._readers[descriptor]()
            if self._timers:
                self._run_timers()

    def stop(self) -> None:
        """Let `run` return after the callbacks of this turn."""
        self._running = False

    def close(self) -> None:
        """Let go of all descriptors of the loop's own, and of the signals."""
        if self._on_signal:
            signal.set_wakeup_fd(-1)
        for number in self._on_signal:
            signal.signal(number, signal.SIG_DFL)
        self._epoll.close()
        self._wakeup_in.close()
        self._wakeup_out.close()

    def _timeout_s(self) -> float | None:
        if not self._timers:
            return None
        # epoll counts in milliseconds and rounds up: a timer is never early, and never spun for.
        return max(0.0, (self._timers[0][0] - time.monotonic_ns()) / 1e9)

    def _run_timers(self) -> None:
        now_ns = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now_ns:
            heapq.heappop(self._timers)[2]()

    def _signalled(self) -> None:
        with suppress(BlockingIOError):
            for number in set(self._wakeup_out.recv(4096)):
                callback = self._on_signal.get(number)
                if callback:
                    callback()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Stand in as a handler: what matters is the number that arrives through the wakeup socket."""
