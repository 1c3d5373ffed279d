"""The table of rules, whose rows can be dragged."""

from __future__ import annotations

from PyQt6.QtCore import QItemSelectionModel, QMimeData, QModelIndex, Qt, pyqtSignal
from PyQt6.QtWidgets import QAbstractItemView

from nfsnitch_ui.facts import known
from nfsnitch_ui.i18n import _
from nfsnitch_ui.text import shown
from nfsnitch_ui.views.table import Column, Row, RowsModel, Table
from nfsnitch_ui.words import action_name, time_left

_MIME = "application/x-nfsnitch-rule"
_NOWHERE = QModelIndex()
_SUMMARY_SKIPS = ("name:", "action:", "note:", "enabled:", "expires:")


class _Model(RowsModel):
    """Rows of rules; dropping one asks for its move and moves nothing: the daemon does."""

    move_wanted = pyqtSignal(str, int)
    can_move = True

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return what can be done with a row."""
        flags = super().flags(index)
        if not self.can_move:
            return flags
        if index.isValid():
            return flags | Qt.ItemFlag.ItemIsDragEnabled
        return flags | Qt.ItemFlag.ItemIsDropEnabled

    def supportedDropActions(self) -> Qt.DropAction:  # noqa: N802  Qt's name
        """Return that rows can be moved."""
        return Qt.DropAction.MoveAction

    def mimeTypes(self) -> list[str]:  # noqa: N802  Qt's name
        """Return what is dragged."""
        return [_MIME]

    def mimeData(self, indexes: object) -> QMimeData:  # noqa: N802  Qt's name
        """Return the place of the row that is dragged."""
        data = QMimeData()
        rows = sorted({index.row() for index in indexes})  # type: ignore[attr-defined]  # Qt's list of indexes
        data.setData(_MIME, str(rows[0]).encode())
        return data

    def dropMimeData(  # noqa: N802  Qt's name
        self,
        data: QMimeData | None,
        _action: Qt.DropAction,
        row: int,
        _column: int,
        parent: QModelIndex,
    ) -> bool:
        """Ask for the move of what was dragged."""
        raw = b"" if data is None else data.data(_MIME).data()
        if not raw.isdigit() or int(raw) >= len(self.rows):
            return False
        at, to = int(raw), row if row >= 0 else parent.row()
        to = len(self.rows) if to < 0 else to
        to = to - 1 if to > at else to  # it leaves its own place first
        if to != at:
            self.move_wanted.emit(str(self.rows[at].get("name")), to)
        return False


class RulesTable(Table):
    """Rules in their order."""

    move_wanted = pyqtSignal(str, int)
    """A rule's name, and the place that it is to have."""

    def __init__(self) -> None:
        self.model_ = _Model(_columns(), lambda row: row.get("name"))
        super().__init__(self.model_, None, _("Rules"))
        self.model_.setParent(self)
        self.model_.move_wanted.connect(self.move_wanted)
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setDragDropOverwriteMode(False)
        self.setDropIndicatorShown(True)

    @property
    def can_move(self) -> bool:
        """Whether rows can be dragged."""
        return self.model_.can_move

    @can_move.setter
    def can_move(self, can_move: bool) -> None:
        self.model_.can_move = can_move

    def place(self) -> int:
        """Return the place of the selected rule; -1: none is."""
        places = self.selected_places()
        return places[0] if places else -1

    def selected(self) -> Row | None:
        """Return the selected rule."""
        place = self.place()
        return self.model_.rows[place] if 0 <= place < len(self.model_.rows) else None

    def select(self, name: str | None) -> None:
        """Select the rule of that name, if it is here."""
        selection = self.selectionModel()
        for place, row in enumerate(self.model_.rows):
            if name is not None and row.get("name") == name and selection is not None:
                how = QItemSelectionModel.SelectionFlag
                index = self.model_.index(place, 0)
                selection.setCurrentIndex(index, how.ClearAndSelect | how.Rows)
                self.scrollTo(index)


def _columns() -> list[Column]:
    return [
        Column(_("Name"), lambda row: known(row.get("name")) or "?", tint=_faded),
        Column(
            _("Action"),
            lambda row: action_name(str(row.get("action"))),
            tint=lambda row: _faded(row) or _tint(row),
            width_ems=8,
        ),
        Column(_("What it says"), rule_summary, tint=_faded),
        Column(_("Holds"), _holds, tint=_faded, width_ems=11),
        Column(_("From"), _origin, tint=lambda _row: "muted", width_ems=12),
    ]


def rule_summary(row: Row) -> str:
    """Return a rule's conditions in one line."""
    rule = row.get("rule")
    if not isinstance(rule, str):
        return known(row.get("note")) or ""
    lines = [line.strip() for line in rule[:4_000].splitlines()]
    said = [line for line in lines if line and not line.startswith(_SUMMARY_SKIPS)]
    return shown(", ".join(said)) or _("everything")


def _holds(row: Row) -> str:
    if row.get("expired") is True:
        return _("expired")
    if row.get("enabled") is False:
        return _("switched off")
    left_s = row.get("left_s")
    if isinstance(left_s, int | float):
        return _("{left} more").format(left=time_left(left_s))
    if isinstance(row.get("process"), int):
        return _("while {pid} runs").format(pid=row["process"])
    if row.get("kind") == "temporary":
        return _("until a restart")
    return _("for ever")


def _origin(row: Row) -> str:
    origin = known(row.get("origin"))
    if origin is None:
        return _("an answer")
    return origin.rpartition("/")[2]


def _faded(row: Row) -> str:
    return "muted" if row.get("expired") is True or row.get("enabled") is False else ""


def _tint(row: Row) -> str:
    action = str(row.get("action"))
    return action if action in {"allow", "deny", "reject"} else ""
