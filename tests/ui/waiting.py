"""Waiting for what happens, in Qt's event loop: never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable

from PyQt6.QtCore import QCoreApplication, QEvent, QEventLoop, QTimer

TIMEOUT_S = 20.0
_WAKE_MS = 5


def wait_for(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Let everything run until *condition* holds."""
    give_up_s = time.monotonic() + timeout_s
    loop, wake = QEventLoop(), QTimer()
    wake.setInterval(_WAKE_MS)
    wake.timeout.connect(lambda: None)
    wake.start()
    while not condition():
        if time.monotonic() > give_up_s:
            raise TimeoutError("it did not come about")
        loop.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def settle() -> None:
    """Let happen all that is due already."""
    for _turn in range(3):
        QCoreApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Return what time it is."""
        return self.now_s
