"""Threads beside the packets' way, for what takes long: one thing after the other, and not many.

A lane that has been busy for long pauses as long as it worked, so that nobody who has it do
useless things takes a whole processor away from everybody else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

MOST_WAITING = 256
_BURST_S = 2.0
_LONGEST_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


class Lane:
    """A thread, begun when there is something to do first."""

    def __init__(self, name: str, most_waiting: int = MOST_WAITING) -> None:
        """Keep at most *most_waiting* things that have not begun."""
        self._name = name
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(most_waiting)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def do(self, work: Callable[[], None]) -> bool:
        """Have *work* done in the thread; False if too much waits already, or it is closed."""
        if self._closed.is_set():
            return False
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return True

    def close(self, timeout_s: float = 1.0) -> None:
        """Begin nothing more, and wait a little for what has begun."""
        self._closed.set()
        if self._thread is not None:
            with suppress(queue.Full):  # it looks at `_closed` before each
                self._waiting.put_nowait(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        busy_s = 0.0
        while (work := self._waiting.get()) is not None and not self._closed.is_set():
            began_s = time.monotonic()
            try:
                work()
            except Exception:  # noqa: BLE001  whatever it was, others wait
                _log.exception("%s: something failed", self._name)
            took_s = time.monotonic() - began_s
            busy_s = busy_s + took_s if self._waiting.qsize() else 0.0
            if busy_s > _BURST_S:
                self._closed.wait(min(took_s, _LONGEST_PAUSE_S))
