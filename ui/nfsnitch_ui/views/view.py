"""What the views have in common: they ask only while they are seen."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QTimer
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.i18n import _
from nfsnitch_ui.text import SafeLabel
from nfsnitch_ui.timers import later

_FILTER_DELAY_MS = 120


class View(QWidget):
    """One page of the main window."""

    def __init__(self, connection: Connection, every_ms: int = 0) -> None:
        super().__init__()
        self.connection = connection
        self.summary = SafeLabel()
        self.summary.setProperty("look", "muted")
        self._every_ms = every_ms
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_time)
        connection.changed.connect(self._on_connection)

    def refresh(self) -> None:
        """Ask the daemon for what is to be shown."""
        raise NotImplementedError

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802  Qt's name
        """Ask, now and from time to time."""
        super().showEvent(event)
        self._on_time()
        if self._every_ms:
            self._timer.start(self._every_ms)

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802  Qt's name
        """Ask no longer."""
        super().hideEvent(event)
        self._timer.stop()

    def _on_time(self) -> None:
        if self.connection.link is Link.ON:
            self.refresh()

    def _on_connection(self) -> None:
        if self.isVisible():
            self._on_time()


class FilterBar(QWidget):
    """A field to type what to look for, and a choice beside it where there is one."""

    def __init__(
        self, changed: Callable[[], object], choices: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.field = QLineEdit()
        self.field.setPlaceholderText(_("Filter"))
        self.field.setAccessibleName(_("Filter"))
        self.field.setClearButtonEnabled(True)
        self.choice = QComboBox()
        self.choice.setVisible(choices is not None)
        for key, text in (choices or {}).items():
            self.choice.addItem(text, key)
        soon = later(self, _FILTER_DELAY_MS, changed)
        self.field.textChanged.connect(lambda _text: soon.start())
        self.choice.currentIndexChanged.connect(lambda _place: changed())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.field, 1)
        layout.addWidget(self.choice)

    def key(self) -> str:
        """Return what is chosen."""
        return str(self.choice.currentData() or "")


def page(view: QWidget) -> QVBoxLayout:
    """Return the layout of a view."""
    layout = QVBoxLayout(view)
    layout.setContentsMargins(14, 14, 14, 10)
    layout.setSpacing(10)
    return layout
