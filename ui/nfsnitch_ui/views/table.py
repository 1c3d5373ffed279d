"""Rows of the daemon's in a table: sorted, filtered, and kept up without losing the place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QSortFilterProxyModel,
    Qt,
)
from PyQt6.QtGui import QBrush, QIcon
from PyQt6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from nfsnitch_ui.style import color
from nfsnitch_ui.text import tooltip

Row = dict[str, Any]

_NOWHERE = QModelIndex()
_ORDER_ROLE = Qt.ItemDataRole.UserRole
_ROW_PADDING = 10


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it is called, and what it shows of a row, escaped."""

    title: str
    text: Callable[[Row], str]
    order: Callable[[Row], float | str] | None = None
    """By what it is sorted, if not by the text."""
    tint: Callable[[Row], str] | None = None
    """In which of the style's colours; empty: the ordinary one."""
    icon: Callable[[Row], QIcon | None] | None = None
    width_ems: int = 0
    """0: as much as is left."""


class RowsModel(QAbstractTableModel):
    """Some rows, each known by what *key* returns of it."""

    def __init__(
        self,
        columns: Sequence[Column],
        key: Callable[[Row], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.columns = tuple(columns)
        self.rows: list[Row] = []
        self._key = key
        self.more: Callable[[], bool] = lambda: False
        """Whether there are more rows to fetch at the end."""
        self.fetch: Callable[[], None] = lambda: None

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802  Qt's name
        """Return how many rows there are."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802  Qt's name
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(self.columns)

    def canFetchMore(self, parent: QModelIndex) -> bool:  # noqa: N802  Qt's name
        """Return whether there are more at the end."""
        return not parent.isValid() and self.more()

    def fetchMore(self, parent: QModelIndex) -> None:  # noqa: N802  Qt's name
        """Ask for more."""
        if not parent.isValid():
            self.fetch()

    def headerData(  # noqa: N802  Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = 0
    ) -> object:
        """Return what a column is called."""
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        return None

    def data(self, index: QModelIndex, role: int = 0) -> object:
        """Return what a cell shows."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        return _cell(self.rows[index.row()], self.columns[index.column()], role)

    def replace(self, rows: Sequence[Row]) -> None:
        """Show these instead; those that were there before stay what they are."""
        keys = {self._key(row) for row in rows}
        for place in range(len(self.rows) - 1, -1, -1):
            if self._key(self.rows[place]) not in keys:
                self.remove(place, 1)
        if [self._key(row) for row in self.rows] == [
            self._key(row) for row in rows[: len(self.rows)]
        ]:
            self._update(rows[: len(self.rows)])
            self.insert(len(self.rows), rows[len(self.rows) :])
        else:
            self.beginResetModel()
            self.rows = list(rows)
            self.endResetModel()

    def insert(self, place: int, rows: Sequence[Row]) -> None:
        """Put *rows* in at *place*."""
        if rows:
            self.beginInsertRows(QModelIndex(), place, place + len(rows) - 1)
            self.rows[place:place] = rows
            self.endInsertRows()

    def remove(self, place: int, count: int) -> None:
        """Take *count* rows out."""
        if count > 0:
            self.beginRemoveRows(QModelIndex(), place, place + count - 1)
            del self.rows[place : place + count]
            self.endRemoveRows()

    def _update(self, rows: Sequence[Row]) -> None:
        for place, row in enumerate(rows):
            if row != self.rows[place]:
                self.rows[place] = row
                last = self.index(place, len(self.columns) - 1)
                self.dataChanged.emit(self.index(place, 0), last)


def _cell(row: Row, column: Column, role: int) -> object:
    """Return what a cell of *column* is in one of Qt's roles."""
    if role == Qt.ItemDataRole.DisplayRole:
        return column.text(row)
    if role == _ORDER_ROLE:
        return column.text(row).casefold() if column.order is None else column.order(row)
    if role == Qt.ItemDataRole.ToolTipRole:
        return tooltip(column.text(row))
    return _decoration(row, column, role)


def _decoration(row: Row, column: Column, role: int) -> object:
    if role == Qt.ItemDataRole.ForegroundRole and column.tint is not None:
        tint = column.tint(row)
        return QBrush(color(tint)) if tint else None
    if role == Qt.ItemDataRole.DecorationRole and column.icon is not None:
        return column.icon(row)
    return None


class Filter(QSortFilterProxyModel):
    """Shows the rows in which all words of a text are, and that some condition lets pass."""

    def __init__(self, model: RowsModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._words: list[str] = []
        self._condition: Callable[[Row], bool] = lambda _row: True
        self.setSortRole(_ORDER_ROLE)
        self.setSourceModel(model)

    def show_only(self, text: str, condition: Callable[[Row], bool] | None = None) -> None:
        """Show only what has all words of *text*, and meets *condition*."""
        self._words = text.casefold().split()
        self._condition = condition or (lambda _row: True)
        self.invalidateFilter()

    def filterAcceptsRow(  # noqa: N802  Qt's name
        self, source_row: int, source_parent: QModelIndex
    ) -> bool:
        """Return whether a row is shown."""
        if source_parent.isValid() or source_row >= len(self._model.rows):
            return False
        row = self._model.rows[source_row]
        if not self._condition(row):
            return False
        if not self._words:
            return True
        text = " ".join(column.text(row) for column in self._model.columns).casefold()
        return all(word in text for word in self._words)

    def row(self, index: QModelIndex) -> Row | None:
        """Return what is shown at *index*."""
        source = self.mapToSource(index)
        return self._model.rows[source.row()] if source.isValid() else None


class Table(QTableView):
    """A table of rows, to look at."""

    def __init__(self, model: RowsModel, filtered: Filter | None, name: str) -> None:
        super().__init__()
        self.setModel(model if filtered is None else filtered)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._size_columns(model)

    def selected_places(self) -> list[int]:
        """Return the selected rows' places in the view."""
        selection = self.selectionModel()
        return [] if selection is None else sorted(each.row() for each in selection.selectedRows())

    def _size_columns(self, model: RowsModel) -> None:
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is None or columns is None:
            return
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(self.fontMetrics().height() + _ROW_PADDING)
        columns.setHighlightSections(False)
        columns.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        em = self.fontMetrics().averageCharWidth() * 2
        for place, column in enumerate(model.columns):
            if column.width_ems:
                columns.resizeSection(place, em * column.width_ems)
            else:
                columns.setSectionResizeMode(place, QHeaderView.ResizeMode.Stretch)
