"""For whom, for where and for how long an answer is to hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from PyQt6.QtCore import QDateTime, Qt, pyqtSignal
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QDateTimeEdit,
    QGridLayout,
    QHBoxLayout,
    QSizePolicy,
    QWidget,
)

from nfsnitch.protocol import ONCE, PROCESS, UNTIL, Asked
from nfsnitch_ui.choices import Choice, Choices
from nfsnitch_ui.i18n import _
from nfsnitch_ui.text import SafeLabel, middle, shown, tooltip
from nfsnitch_ui.words import durations, where_name, who_name

_HOUR_S = 3600
_MOST_IN_ITEM = 70
_ROOM_PIXELS = 4
"""A letter that is underlined as a key makes a text wider than Qt says."""


class CalmCombo(QComboBox):
    """A choice that scrolling past does not change."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(14)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802  Qt's name
        """Leave the wheel to what is around."""
        if event is not None:
            event.ignore()

    def key(self) -> str:
        """Return what is chosen."""
        value = self.currentData()
        return value if isinstance(value, str) else ""

    def choose(self, key: str) -> None:
        """Choose *key*, if it is there."""
        place = self.findData(key)
        if place >= 0:
            self.setCurrentIndex(place)

    def offer(self, items: dict[str, str], tips: dict[str, str] | None = None) -> None:
        """Offer *items*: keys with texts; *tips* say some of them in full."""
        self.clear()
        for key, text in items.items():
            self.addItem(middle(text, _MOST_IN_ITEM), key)
            tip = tooltip((tips or {}).get(key, text))
            self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)


class Scope(QWidget):
    """The choices that go with an answer."""

    changed = pyqtSignal()

    def __init__(self, choices: Choices, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices = choices
        self.who, self.where, self.duration = CalmCombo(), CalmCombo(), CalmCombo()
        self.until = QDateTimeEdit(QDateTime.currentDateTime().addSecs(_HOUR_S))
        self.until.setCalendarPopup(True)
        self.until.setDisplayFormat("yyyy-MM-dd HH:mm")
        self.until.hide()
        times = QHBoxLayout()
        times.addWidget(self.duration)
        times.addWidget(self.until)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setColumnStretch(1, 1)
        fields = (self.who, self.where, self.duration)
        texts = (_("&For"), _("&To"), _("&How long"))
        for row, (text, field) in enumerate(zip(texts, fields, strict=True)):
            label = SafeLabel()
            label.setProperty("look", "muted")
            label.setBuddy(field)  # first: only then the & in the text marks a key
            label.setText(text)
            field.setAccessibleName(text.replace("&", ""))
            label.setMinimumWidth(label.sizeHint().width() + _ROOM_PIXELS)
            grid.addWidget(label, row, 0)
        grid.addWidget(self.who, 0, 1)
        grid.addWidget(self.where, 1, 1)
        grid.addLayout(times, 2, 1)
        for field in fields:
            field.currentIndexChanged.connect(self._on_changed)
        self.until.dateTimeChanged.connect(self._on_changed)

    def choice(self) -> Choice:
        """Return what is chosen."""
        duration = self.duration.key()
        if duration == UNTIL:
            # With the offset: the daemon's time zone may be another than that of this session.
            moment = datetime.fromtimestamp(self.until.dateTime().toSecsSinceEpoch(), UTC)
            duration = f"{UNTIL} {moment.astimezone().isoformat(timespec='minutes')}"
        return Choice(self.who.key(), self.where.key(), duration)

    def offer(self, asked: Sequence[Asked]) -> None:
        """Offer what is possible for all of these, and the last choice first."""
        has_process = all(each.owner.get("owner") == "process" for each in asked)
        who = _common([each.who for each in asked])
        where = _common([each.where for each in asked])
        last = self._choices.last(who, where, has_process=has_process)
        times = {key: text for key, text in durations().items() if has_process or key != PROCESS}
        self.blockSignals(True)  # noqa: FBT003  Qt takes no name here
        self.who.offer(*_named(who, who_name))
        self.where.offer(*_named(where, where_name))
        self.duration.offer(times)
        self.who.choose(last.who)
        self.where.choose(last.where)
        self.duration.choose(last.duration)
        self.until.setMinimumDateTime(QDateTime.currentDateTime())
        self.blockSignals(False)  # noqa: FBT003  Qt takes no name here
        self._on_changed()

    def remember(self) -> None:
        """Offer the same the next time."""
        places = range(self.where.count())
        self._choices.remember(self.choice(), [self.where.itemData(each) for each in places])

    def set_enabled(self, *, enabled: bool) -> None:
        """Let somebody choose, or not."""
        for field in (self.who, self.where, self.duration, self.until):
            field.setEnabled(enabled)
        if enabled:
            self._on_changed()

    def _on_changed(self) -> None:
        makes_rule = self.duration.key() != ONCE
        self.who.setEnabled(makes_rule)
        self.where.setEnabled(makes_rule)
        self.until.setVisible(self.duration.key() == UNTIL)
        self.changed.emit()


def _common(offers: list[dict[str, str]]) -> dict[str, str]:
    """Return what all offer; a text only where all have the same."""
    if not offers:
        return {}
    first, *others = offers
    return {
        key: text if all(each[key] == text for each in others) else ""
        for key, text in first.items()
        if all(key in each for each in others)
    }


def _named(offered: dict[str, str], name: object) -> tuple[dict[str, str], dict[str, str]]:
    """Return texts for a choice, and the same in full."""
    whole = {}
    for key, text in offered.items():
        called = name(key) if callable(name) else key
        whole[key] = f"{called}: {shown(text, 2_000)}" if text else f"{called}"
    return {key: text[:1].upper() + text[1:] for key, text in whole.items()}, whole
