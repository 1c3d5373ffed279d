r"""Text from outside made fit to show: plain, bounded, and nothing in it that cannot be seen.

Paths, arguments and names belong to programs that may want to be mistaken for others. So a control
character, a bidirectional override or a byte that is no UTF-8 is written as an escape
(``\u202e``), what is too long loses its middle, and no widget is ever given markup.
"""

from __future__ import annotations

import html
import textwrap

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QLabel, QSizePolicy, QWidget

MOST_SHOWN = 600
"""Characters of one text that a label or a row gets; it then elides further, by its width."""
MOST_IN_TOOLTIP = 2_000
_ELLIPSIS = "…"
_TOOLTIP_COLUMNS = 90
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"
_LAST_OF_TWO_DIGITS, _LAST_OF_FOUR_DIGITS = 0xFF, 0xFFFF
_RAW_BYTES = range(0xDC80, 0xDD00)
"""What Python makes of the bytes 80-ff where they are no UTF-8."""


def shown(text: str, limit: int = MOST_SHOWN) -> str:
    """Return *text* with nothing invisible in it, at most about *limit* characters of it."""
    text = middle(text, limit)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_visible, text))


def shown_lines(text: str, limit: int = 60_000) -> str:
    """Return *text* as `shown` does, its line ends left as they are."""
    return "\n".join(shown(line, limit) for line in middle(text, limit).split("\n"))


def is_plain(text: str) -> bool:
    """Whether *text* is shown as it is: an editor may hold it without lying."""
    return all(line.replace("\\", "").isprintable() for line in text.split("\n"))


def middle(text: str, limit: int) -> str:
    """Return *text* without its middle, if it has more than *limit* characters."""
    if len(text) <= limit:
        return text
    tail = limit // 2
    return text[: limit - tail] + _ELLIPSIS + text[-tail:]


def apart(text: str) -> str:
    """Return a shown *text* such that its direction of writing changes nothing around it."""
    return text if text.isascii() else f"{_ISOLATE}{text}{_END_ISOLATE}"


def tooltip(text: str) -> str:
    """Return *text* for a tooltip, which would take what looks like markup for markup."""
    lines = textwrap.wrap(shown(text, MOST_IN_TOOLTIP), _TOOLTIP_COLUMNS) or [""]
    return "<qt>" + "<br>".join(map(html.escape, lines)) + "</qt>"


def for_button(text: str) -> str:
    """Return *text* for a button, a menu or a tab, where ``&`` would mark a key."""
    return text.replace("&", "&&")


def _visible(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if code in _RAW_BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code <= _LAST_OF_TWO_DIGITS:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LAST_OF_FOUR_DIGITS else f"\\U{code:08x}"


class SafeLabel(QLabel):
    """A label that takes no markup."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)


class ElidedLabel(SafeLabel):
    """A label of one line that leaves out the middle of what is too long, and says it in full."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._whole = ""
        self.show_text(text)

    def show_text(self, text: str, whole: str | None = None) -> None:
        """Show *text*; the tooltip has *whole*, where that is more."""
        self._whole = text
        self.setToolTip(tooltip(text if whole is None else whole) if text else "")
        self._elide()

    def whole_text(self) -> str:
        """Return what is shown, with its middle."""
        return self._whole

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802  Qt's name
        """Cut anew for the new width."""
        super().resizeEvent(event)
        self._elide()

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Say that any width will do."""
        return QSize(0, super().minimumSizeHint().height())

    def _elide(self) -> None:
        cut = self.fontMetrics().elidedText(
            self._whole, Qt.TextElideMode.ElideMiddle, max(self.width(), 1)
        )
        if cut != self.text():
            self.setText(cut)
