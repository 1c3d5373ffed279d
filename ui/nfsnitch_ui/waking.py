"""Signals of the system in Qt's event loop, which Python's handlers alone would not interrupt."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from PyQt6.QtCore import QObject, QSocketNotifier
from PyQt6.sip import voidptr


class Signals(QObject):
    """Calls *leave* on SIGTERM, SIGINT and SIGHUP."""

    def __init__(self, leave: Callable[[], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._leave = leave
        self._read_end, self._write_end = socket.socketpair()
        self._write_end.settimeout(0)
        self._read_end.settimeout(0)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        self._notifier = QSocketNotifier(
            voidptr(self._read_end.fileno()), QSocketNotifier.Type.Read, self
        )
        self._notifier.activated.connect(self._on_signal)

    def _on_signal(self) -> None:
        self._read_end.recv(64)
        self._leave()
