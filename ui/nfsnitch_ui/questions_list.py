"""The list of all questions that wait; any of them, or several, can be picked."""

from __future__ import annotations

from PyQt6.QtCore import QItemSelectionModel, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QVBoxLayout, QWidget

from nfsnitch_ui.guard import ActionButton, Guard
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.questions_model import Part, QuestionsModel
from nfsnitch_ui.text import SafeLabel, for_button, middle
from nfsnitch_ui.timers import every

_TICK_MS = 1_000
_ICON_PIXELS = 20
_ROW_PADDING = 12


class QuestionsList(QWidget):
    """All questions, the earliest first, and what can be done with many of them."""

    picked = pyqtSignal()
    """Others are selected."""
    deny_everything = pyqtSignal()
    """Of the program that the selected question is of."""

    def __init__(self, questions: Questions, guard: Guard, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = QuestionsModel(questions, self)
        self.title = SafeLabel()
        self.title.setProperty("look", "strong")
        self.view = _table(self.model)
        self.deny_button = ActionButton("", guard, "deny")
        self.deny_button.chosen.connect(self.deny_everything)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(self.title)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.deny_button)
        selection = self.view.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self.picked)
        self._tick = every(self, _TICK_MS, self.model.tick)

    def selected(self) -> list[int]:
        """Return the numbers of the questions that are selected, the earliest first."""
        selection = self.view.selectionModel()
        if selection is None:
            return []
        rows = sorted(index.row() for index in selection.selectedRows())
        return [number for row in rows if (number := self.model.number(row)) is not None]

    def select(self, number: int) -> None:
        """Select one question alone."""
        row, selection = self.model.row(number), self.view.selectionModel()
        if row is None or selection is None:
            return
        how = QItemSelectionModel.SelectionFlag
        index = self.model.index(row, 0)
        selection.setCurrentIndex(index, how.ClearAndSelect | how.Rows)
        self.view.scrollTo(index)

    def show_count(self, count: int) -> None:
        """Say how many questions wait."""
        self.title.setText(counted("{n} question waits", "{n} questions wait", count))

    def offer_deny(self, program: str | None) -> None:
        """Offer to deny all that *program* wants; None: do not."""
        self.deny_button.setEnabled(program is not None)
        if program is not None:
            text = _("Deny &everything from {program}")
            self.deny_button.call(text.format(program=for_button(middle(program, 24))))

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802  Qt's name
        """Count down only while it is seen."""
        super().showEvent(event)
        self._tick.start()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802  Qt's name
        """Rest while it is not seen."""
        super().hideEvent(event)
        self._tick.stop()


def _table(model: QuestionsModel) -> QTableView:
    view = QTableView()
    view.setModel(model)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    view.setShowGrid(False)
    view.setTabKeyNavigation(False)
    view.setWordWrap(False)
    view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    view.setIconSize(QSize(_ICON_PIXELS, _ICON_PIXELS))
    view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    view.setAccessibleName(_("Questions that wait"))
    rows, columns = view.verticalHeader(), view.horizontalHeader()
    if rows is not None:
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(view.fontMetrics().height() + _ROW_PADDING)
    if columns is not None:
        columns.setHighlightSections(False)
        columns.setStretchLastSection(False)
        columns.setSectionResizeMode(Part.PROGRAM, QHeaderView.ResizeMode.Stretch)
        columns.setSectionResizeMode(Part.PLACE, QHeaderView.ResizeMode.Stretch)
        columns.setSectionResizeMode(Part.LEFT, QHeaderView.ResizeMode.Fixed)
        columns.resizeSection(Part.LEFT, view.fontMetrics().horizontalAdvance("00 min 00"))
        columns.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return view
