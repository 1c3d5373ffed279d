"""What would have been asked while nobody was to be: to make rules of, afterwards."""

from __future__ import annotations

import json

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QAbstractItemView, QHBoxLayout, QSplitter, QWidget

from nfsnitch.protocol import (
    VERSION,
    Answered,
    AnswerRequest,
    Asked,
    ProtocolError,
    Refused,
    Reply,
    Silenced,
    SilencedRequest,
    decode_reply,
)
from nfsnitch_ui.answer_controls import AnswerControls
from nfsnitch_ui.choices import Choices
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.guard import Guard
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.question_panel import QuestionPanel
from nfsnitch_ui.status_line import StatusLine
from nfsnitch_ui.text import shown
from nfsnitch_ui.views.connections import place_columns, program_columns
from nfsnitch_ui.views.history import time_text
from nfsnitch_ui.views.table import Column, Filter, Row, RowsModel, Table
from nfsnitch_ui.views.view import FilterBar, View, page
from nfsnitch_ui.words import action_done

_EVERY_MS = 5_000
_LINES_KEPT = 9


class SilencedView(View):
    """The list, with the same controls that questions are answered with."""

    def __init__(self, connection: Connection, choices: Choices, guard: Guard) -> None:
        super().__init__(connection, _EVERY_MS)
        self._total = 0
        self._asks = 0
        self._shown: tuple[int, ...] = ()
        self.model = RowsModel(
            [
                Column(_("Last"), time_text, lambda row: str(row.get("since")), width_ems=9),
                Column(_("Times"), _times, lambda row: float(_count(row)), width_ems=5),
                Column(
                    _("Was"),
                    lambda row: action_done(str(row.get("silently"))),
                    tint=lambda row: str(row.get("silently")) if _is_action(row) else "",
                    width_ems=7,
                ),
                *program_columns(),
                *place_columns(),
            ],
            lambda row: row.get("number"),
            self,
        )
        self.model.more = lambda: len(self.model.rows) < self._total
        self.model.fetch = self._ask_more
        self.filter = Filter(self.model, self)
        self.bar = FilterBar(lambda: self.filter.show_only(self.bar.field.text()))
        self.table = Table(self.model, self.filter, _("What would have been asked"))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setMinimumHeight(self.fontMetrics().height() * _LINES_KEPT)
        self.panel = QuestionPanel()
        self.controls = AnswerControls(connection, choices, guard)
        self.controls.buttons["dismiss"].call(_("For&get"))
        self.controls.buttons["dismiss"].setToolTip(_("Take it off this list; no rule is made"))
        self.controls.answered.connect(self._answer)
        self.status = StatusLine()
        selection = self.table.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._show_selected)
        self._lay_out()

    def refresh(self) -> None:
        """Ask for as many as are shown, and at least the first ones."""
        self._asks += 1
        self._ask(0, max(1, len(self.model.rows)), [])

    def _lay_out(self) -> None:
        self.chosen = QWidget()
        below = QHBoxLayout(self.chosen)
        below.setContentsMargins(0, 12, 0, 0)
        below.setSpacing(18)
        below.addWidget(self.panel, 1)
        below.addWidget(self.controls, 1, Qt.AlignmentFlag.AlignBottom)
        self.chosen.hide()
        split = QSplitter(Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self.table)
        split.addWidget(self.chosen)
        split.setStretchFactor(0, 1)
        layout = page(self)
        layout.addWidget(self.bar)
        layout.addWidget(split, 1)
        layout.addWidget(self.summary)
        layout.addWidget(self.status)

    def _ask(self, first: int, wanted: int, before: list[Row]) -> None:
        number = self._asks
        self.connection.ask(
            SilencedRequest(first), lambda reply: self._on_rows(number, wanted, before, reply)
        )

    def _ask_more(self) -> None:
        self._asks += 1
        rows = list(self.model.rows)
        self._ask(len(rows), len(rows) + 1, rows)

    def _on_rows(self, number: int, wanted: int, before: list[Row], reply: Reply | None) -> None:
        if number != self._asks or not isinstance(reply, Silenced):
            return
        rows = [*before, *reply.rows]
        self._total = reply.total
        if reply.rows and len(rows) < min(wanted, reply.total):
            self._ask(len(rows), wanted, rows)
            return
        self.model.replace(rows)
        if reply.total:
            text = counted("{n} would have been asked", "{n} would have been asked", reply.total)
        else:
            text = _("Nothing: in the silent modes, what would have been asked is listed here.")
        self.summary.setText(text)

    def _show_selected(self) -> None:
        asked = self._selected()
        numbers = tuple(each.number for each in asked)
        if numbers == self._shown:
            return
        self._shown = numbers
        self.chosen.setVisible(bool(asked))
        if asked:
            self.panel.show_questions(asked)
            self.controls.show_questions(asked)

    def _selected(self) -> list[Asked]:
        rows = (
            self.filter.row(self.filter.index(each, 0)) for each in self.table.selected_places()
        )
        return [asked for row in rows if row is not None and (asked := _asked(row)) is not None]

    def _answer(self, request: AnswerRequest) -> None:
        self.connection.ask(request, self._on_answered)

    def _on_answered(self, reply: Reply | None) -> None:
        if isinstance(reply, Refused):
            self.status.fail(shown(reply.text))
        elif isinstance(reply, Answered):
            made = counted("{n} rule was made.", "{n} rules were made.", len(reply.rules))
            self.status.say(made)
            if reply.problem is not None:
                text = _("The rule holds only until the firewall restarts: {problem}")
                self.status.fail(text.format(problem=shown(reply.problem)))
            self.table.clearSelection()
            self.refresh()
        else:
            self.status.fail(_("The connection was lost; the answer may not have arrived."))


def _asked(row: Row) -> Asked | None:
    """Return a row as the question that it would have been."""
    line = json.dumps({**row, "v": VERSION, "type": Asked.type}).encode("ascii")
    try:
        reply = decode_reply(line)
    except ProtocolError:
        return None
    return reply if isinstance(reply, Asked) else None


def _count(row: Row) -> int:
    times = row.get("times")
    return times if isinstance(times, int) else 0


def _times(row: Row) -> str:
    return str(_count(row))


def _is_action(row: Row) -> bool:
    return row.get("silently") in {"allow", "deny", "reject"}
