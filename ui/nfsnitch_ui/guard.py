"""Keeps a click or a key that was meant for something else from answering a question.

A window that appears, or changes, under somebody's hands would be answered by whatever they were
about to press. So nothing on it answers until it has been there for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from PyQt6.QtCore import QEvent, QObject, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PyQt6.QtWidgets import QPushButton, QSizePolicy, QWidget

from nfsnitch_ui.timers import later

GUARD_S = 0.7


class Guard(QObject):
    """Is closed for a moment after each `restart`."""

    changed = pyqtSignal()
    """It may have opened or closed; `is_open` says."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._clock = clock
        self._opens_at_s = clock()
        self._timer = later(self, 0, self.changed.emit)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)

    def restart(self) -> None:
        """Close it for a moment."""
        self._opens_at_s = self._clock() + GUARD_S
        self._timer.start(round(GUARD_S * 1000) + 1)
        self.changed.emit()

    def is_open(self) -> bool:
        """Whether somebody has had the time to see what they press."""
        return self._clock() >= self._opens_at_s


class ActionButton(QPushButton):
    """A button that answers: never by default, never by a key held down, never too early."""

    chosen = pyqtSignal()
    """It was pressed by somebody who could see it."""
    considered = pyqtSignal()
    """Somebody is about to press it: the pointer or the focus is here."""

    def __init__(self, text: str, guard: Guard, kind: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._guard = guard
        self.setAutoDefault(False)
        self.setProperty("kind", kind)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._shortcut = QShortcut(self)
        self._shortcut.setAutoRepeat(False)
        self._shortcut.activated.connect(self._on_shortcut)
        self.call(text)
        self.clicked.connect(self._on_clicked)
        guard.changed.connect(self._on_guard)

    def call(self, text: str) -> None:
        """Give it a text; the letter after ``&`` is its key, with Alt."""
        self.setText(text)
        # Qt's own shortcut for the underlined letter would repeat while the keys are held.
        self.setShortcut(QKeySequence())
        self._shortcut.setKey(QKeySequence.mnemonic(text))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802  Qt's name
        """Press the button by Enter too: it has the focus only if somebody put it there."""
        if event is None or event.isAutoRepeat():
            return
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.click()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Notice that somebody considers it."""
        if event is not None and event.type() in {QEvent.Type.Enter, QEvent.Type.FocusIn}:
            self.considered.emit()
        return super().event(event)

    def _on_shortcut(self) -> None:
        if self.isVisible():
            self.click()

    def _on_clicked(self) -> None:
        if self._guard.is_open():
            self.chosen.emit()

    def _on_guard(self) -> None:
        is_waiting = not self._guard.is_open()
        if is_waiting:
            self.setDown(False)  # what was pressed before is not released on something else
        if self.property("waiting") != is_waiting:
            self.setProperty("waiting", is_waiting)
            style = self.style()
            if style is not None:
                style.unpolish(self)
                style.polish(self)
