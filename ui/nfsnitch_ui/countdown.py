"""How much time is left for an answer."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QRectF, QSize, Qt
from PyQt6.QtGui import QHideEvent, QPainter, QPaintEvent, QShowEvent
from PyQt6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from nfsnitch_ui.i18n import _
from nfsnitch_ui.style import color
from nfsnitch_ui.text import SafeLabel
from nfsnitch_ui.timers import every
from nfsnitch_ui.words import time_left

_TICK_MS = 100
_URGENT_S = 5.0
_BAR_PIXELS = 4
_WIDEST_S = 88.0


class Bar(QWidget):
    """A thin bar, full to some part."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.part, self.is_urgent = 1.0, False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Say how high it is."""
        return QSize(80, _BAR_PIXELS + 2)

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802  Qt's name
        """Paint what is left over what there was."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        half = _BAR_PIXELS / 2
        whole = QRectF(0, self.height() / 2 - half, self.width(), _BAR_PIXELS)
        painter.setBrush(color("line"))
        painter.drawRoundedRect(whole, half, half)
        painter.setBrush(color("deny" if self.is_urgent else "accent"))
        whole.setWidth(whole.width() * self.part)
        painter.drawRoundedRect(whole, half, half)
        painter.end()


class Countdown(QWidget):
    """A bar that runs out, with the seconds, and what happens then."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left_s: Callable[[], float] = lambda: 0.0
        self._whole_s, self._then = 1.0, ""
        self.bar, self.label = Bar(), SafeLabel()
        self.label.setProperty("look", "muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.label)
        self.label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._tick = every(self, _TICK_MS, self._show)

    def run(self, left_s: Callable[[], float], whole_s: float, then: str) -> None:
        """Count down what *left_s* says; *then* is what happens at its end."""
        self._left_s, self._whole_s, self._then = left_s, max(whole_s, 0.001), then
        widest = _text(_WIDEST_S, then)
        self.label.setMinimumWidth(self.label.fontMetrics().horizontalAdvance(widest))
        self._show()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802  Qt's name
        """Run only while it is seen."""
        super().showEvent(event)
        self._tick.start()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802  Qt's name
        """Rest while it is not seen."""
        super().hideEvent(event)
        self._tick.stop()

    def _show(self) -> None:
        left_s = self._left_s()
        self.bar.part = min(1.0, left_s / self._whole_s)
        self.bar.is_urgent = left_s < _URGENT_S
        self.bar.update()
        text = _text(left_s, self._then)
        if text != self.label.text():
            self.label.setText(text)


def _text(left_s: float, then: str) -> str:
    left = time_left(left_s)
    return _("{left}, {then}").format(left=left, then=then) if then else left
