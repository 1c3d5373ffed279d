"""The questions that wait, for a list: a thousand of them cost no widget."""

from __future__ import annotations

from enum import IntEnum

from PyQt6.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt

from nfsnitch_ui.facts import program_name
from nfsnitch_ui.i18n import _
from nfsnitch_ui.icons import letter_icon
from nfsnitch_ui.questions import Questions, Waiting
from nfsnitch_ui.text import tooltip
from nfsnitch_ui.words import place, sentence, time_left

_NOWHERE = QModelIndex()


class Part(IntEnum):
    """The columns."""

    PROGRAM = 0
    PLACE = 1
    LEFT = 2


class QuestionsModel(QAbstractTableModel):
    """Rows as `Questions` has them, the earliest first."""

    def __init__(self, questions: Questions, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._questions = questions
        self._numbers = questions.numbers()
        self._rows = {number: row for row, number in enumerate(self._numbers)}
        questions.added.connect(self._on_added)
        questions.updated.connect(self._on_updated)
        questions.removed.connect(self._on_removed)
        questions.cleared.connect(self._on_cleared)

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802  Qt's name
        """Return how many questions there are."""
        return 0 if parent.isValid() else len(self._numbers)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802  Qt's name
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(Part)

    def headerData(  # noqa: N802  Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = 0
    ) -> object:
        """Return what a column is called."""
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return (_("Program"), _("To"), _("Left"))[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> object:
        """Return what a cell shows."""
        number = self.number(index.row())
        waiting = None if number is None else self._questions.get(number)
        if number is None or waiting is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(number, waiting, index.column())
        if role == Qt.ItemDataRole.DecorationRole and index.column() == Part.PROGRAM:
            return letter_icon(program_name(waiting.asked.owner))
        if role in {Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole}:
            text = sentence(waiting.asked)
            return tooltip(text) if role == Qt.ItemDataRole.ToolTipRole else text
        return None

    def number(self, row: int) -> int | None:
        """Return the number of the question in a row."""
        return self._numbers[row] if 0 <= row < len(self._numbers) else None

    def row(self, number: int) -> int | None:
        """Return the row of a question."""
        return self._rows.get(number)

    def tick(self) -> None:
        """Let the time that is left be painted anew."""
        if self._numbers:
            last = len(self._numbers) - 1
            self.dataChanged.emit(self.index(0, Part.LEFT), self.index(last, Part.LEFT))

    def _text(self, number: int, waiting: Waiting, column: int) -> str:
        if column == Part.PROGRAM:
            return program_name(waiting.asked.owner)
        if column == Part.PLACE:
            return place(waiting.asked.flow)
        return "…" if waiting.is_sent else time_left(self._questions.left_s(number))

    def _on_added(self, number: int) -> None:
        row = len(self._numbers)
        self.beginInsertRows(QModelIndex(), row, row)
        self._numbers.append(number)
        self._rows[number] = row
        self.endInsertRows()

    def _on_updated(self, number: int) -> None:
        row = self._rows.get(number)
        if row is not None:
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(Part) - 1))

    def _on_removed(self, number: int) -> None:
        row = self._rows.get(number)
        if row is None:
            return
        self.beginRemoveRows(QModelIndex(), row, row)
        del self._numbers[row], self._rows[number]
        for place_, each in enumerate(self._numbers[row:], row):
            self._rows[each] = place_
        self.endRemoveRows()

    def _on_cleared(self) -> None:
        self.beginResetModel()
        self._numbers, self._rows = self._questions.numbers(), {}
        self._rows = {number: row for row, number in enumerate(self._numbers)}
        self.endResetModel()
