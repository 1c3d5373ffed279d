"""The rules in force: what answers have made can be changed here, those of files be read."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QSplitter

from nfsnitch.protocol import (
    Checked,
    MoveRuleRequest,
    Refused,
    Reply,
    Request,
    Revoked,
    RuleKind,
    Rules,
    RulesChanged,
    RuleSet,
    RulesRequest,
)
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.status_line import StatusLine
from nfsnitch_ui.text import shown
from nfsnitch_ui.views.rule_pane import RulePane
from nfsnitch_ui.views.rules_table import RulesTable
from nfsnitch_ui.views.table import Row
from nfsnitch_ui.views.view import View, page


class RulesView(View):
    """Three lists of rules, and a pane for the one that is selected."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._total = 0
        self._asks = 0
        """Number of the last request for rows: answers to others are of no use any more."""
        self.kind = RuleKind.LASTING.value
        self.table = RulesTable()
        self.table.model_.more = lambda: len(self.table.model_.rows) < self._total
        self.table.model_.fetch = self._ask_more
        self.table.move_wanted.connect(self._on_move_wanted)
        self.pane = RulePane(connection)
        self.pane.wanted.connect(self._send)
        self.status = StatusLine()
        self.pane.undoable.connect(self._on_undoable)
        self.undo_button = QPushButton(_("&Undo"))
        self.undo_button.hide()
        self.undo_button.clicked.connect(self._undo)
        self._undo_steps: tuple[str, Request, int] | None = None
        """What was deleted, the request that brings it back, and its place (-1: none)."""
        selection = self.table.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._show_selected)
        self._lay_out()
        connection.arrived.connect(self._on_arrived)

    def refresh(self) -> None:
        """Ask for as many rules as are shown, and at least the first ones."""
        self._asks += 1
        self._ask(0, max(1, len(self.table.model_.rows)), [])

    def show_kind(self, kind: str) -> None:
        """Show the rules of another kind."""
        self.kind = kind
        self._total = 0
        self.table.model_.replace([])
        self.table.can_move = kind == RuleKind.LASTING.value
        self._show_selected()
        self.refresh()

    def _lay_out(self) -> None:
        kinds = QHBoxLayout()
        kinds.setSpacing(6)
        self.kinds = QButtonGroup(self)
        for kind, text in (
            (RuleKind.LASTING.value, _("&Lasting answers")),
            (RuleKind.TEMPORARY.value, _("&Temporary answers")),
            (RuleKind.FILE.value, _("Rule &files")),
        ):
            button = QPushButton(text)
            button.setCheckable(True)
            button.setChecked(kind == self.kind)
            button.setProperty("kind", "plain")
            button.clicked.connect(lambda _checked, kind=kind: self.show_kind(kind))
            self.kinds.addButton(button)
            kinds.addWidget(button)
        kinds.addStretch(1)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self.table)
        split.addWidget(self.pane)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        below = QHBoxLayout()
        below.addWidget(self.summary)
        below.addWidget(self.status, 1)
        below.addWidget(self.undo_button)
        layout = page(self)
        layout.addLayout(kinds)
        layout.addWidget(split, 1)
        layout.addLayout(below)

    def _ask(self, first: int, wanted: int, before: list[Row]) -> None:
        number = self._asks
        self.connection.ask(
            RulesRequest(self.kind, first),
            lambda reply: self._on_rows(number, wanted, before, reply),
        )

    def _ask_more(self) -> None:
        self._asks += 1
        rows = list(self.table.model_.rows)
        self._ask(len(rows), len(rows) + 1, rows)

    def _on_rows(self, number: int, wanted: int, before: list[Row], reply: Reply | None) -> None:
        """Take some rows in; ask on until there are as many as are wanted."""
        if number != self._asks or not isinstance(reply, Rules):
            return
        rows = [*before, *reply.rows]
        self._total = reply.total
        if reply.rows and len(rows) < min(wanted, reply.total):
            self._ask(len(rows), wanted, rows)
            return
        name = self.pane.name()
        self.table.model_.replace(rows)
        self.table.select(name)
        self._show_selected()
        self.summary.setText(counted("{n} rule", "{n} rules", self._total))

    def _on_arrived(self, reply: Reply) -> None:
        if isinstance(reply, RulesChanged) and self.isVisible():
            self.refresh()

    def _show_selected(self) -> None:
        self.pane.show_row(self.table.selected(), self.table.place(), self._total)

    def _on_move_wanted(self, name: str, to: int) -> None:
        self.pane.move_to(name, to)

    def _send(self, request: Request) -> None:
        self.connection.ask(request, self._on_sent)

    def _on_sent(self, reply: Reply | None) -> None:
        if isinstance(reply, Checked):
            self.pane.editor.show_problems(reply.problems)
        elif isinstance(reply, Refused):
            self.status.fail(shown(reply.text))
        elif reply is None:
            self.status.fail(_("The connection was lost; this may not have been done."))
        else:
            problem = getattr(reply, "problem", None)
            if isinstance(problem, str):
                text = _("The rule holds only until the firewall restarts: {problem}")
                self.status.fail(text.format(problem=shown(problem)))
            if isinstance(reply, Revoked):
                self._offer_undo()
            self.pane.forget_edit()
            self.refresh()

    def _on_undoable(self, text: str, request: Request, place: int) -> None:
        self._undo_steps = (text, request, place)

    def _offer_undo(self) -> None:
        if self._undo_steps is not None:
            self.status.say(self._undo_steps[0])
            self.undo_button.show()

    def _undo(self) -> None:
        self.undo_button.hide()
        if self._undo_steps is not None:
            _text, request, place = self._undo_steps
            self._undo_steps = None
            self.connection.ask(request, lambda reply: self._on_undone(place, reply))

    def _on_undone(self, place: int, reply: Reply | None) -> None:
        """Put what is back in its old place, if it has one."""
        self._on_sent(reply)
        if isinstance(reply, RuleSet) and place >= 0:
            self._send(MoveRuleRequest(reply.name, place))
