"""Timers, each made with what it does."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QObject, QTimer


def later(parent: QObject, delay_ms: int, act: Callable[[], object]) -> QTimer:
    """Return a timer that acts once, *delay_ms* after each start: starting it again puts it off."""
    timer = every(parent, delay_ms, act)
    timer.setSingleShot(True)
    return timer


def every(parent: QObject, interval_ms: int, act: Callable[[], object]) -> QTimer:
    """Return a timer that acts again and again, once it is started."""
    timer = QTimer(parent)
    timer.setInterval(interval_ms)
    timer.timeout.connect(act)
    return timer
