"""One line for what has just happened; it goes by itself."""

from __future__ import annotations

from PyQt6.QtWidgets import QWidget

from nfsnitch_ui.text import ElidedLabel
from nfsnitch_ui.timers import later

_SHOWN_MS = 8_000


class StatusLine(ElidedLabel):
    """Says what has happened, or what has failed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.hide()
        self._clear = later(self, _SHOWN_MS, self.hide)

    def say(self, text: str) -> None:
        """Tell of something."""
        self._show("muted", text)

    def fail(self, text: str) -> None:
        """Tell of something that went wrong."""
        self._show("loud", text)

    def _show(self, look: str, text: str) -> None:
        self.setProperty("look", look)
        style = self.style()
        if style is not None:
            style.unpolish(self)
            style.polish(self)
        self.show_text(text)
        self.show()
        self._clear.start()
