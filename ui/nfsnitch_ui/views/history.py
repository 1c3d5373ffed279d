"""What has been decided, the latest first."""

from __future__ import annotations

from collections import deque

from PyQt6.QtCore import QDateTime, QLocale, Qt
from PyQt6.QtWidgets import QPlainTextEdit, QSplitter

from nfsnitch.protocol import History, HistoryRequest, Missed, Recorded, Reply
from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.facts import full_text
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.style import fixed_font
from nfsnitch_ui.text import shown
from nfsnitch_ui.timers import later
from nfsnitch_ui.views.connections import place_columns, program_columns
from nfsnitch_ui.views.table import Column, Filter, Row, RowsModel, Table
from nfsnitch_ui.views.view import FilterBar, View, page
from nfsnitch_ui.words import action_done

MOST_KEPT = 5_000
_GATHER_MS = 150
_OVERLAP = 200
"""Among so many last ones a record may be that also comes by itself."""
_TINTS = {"accept": "allow", "drop": "deny", "reject": "reject"}


class HistoryView(View):
    """Records: the last ones at once, older ones as somebody scrolls, new ones as they come."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._new: deque[Row] = deque(maxlen=MOST_KEPT)
        self._oldest: int | None = None
        """Number of the oldest record here; None: none has been asked for."""
        self._is_asking = False
        self._missed = 0
        self._gather = later(self, _GATHER_MS, self._take_in)
        self.model = RowsModel(
            [
                Column(_("Time"), time_text, lambda row: str(row.get("time")), width_ems=9),
                Column(_("Verdict"), _verdict, tint=_tint, width_ems=7),
                *program_columns(),
                *place_columns(),
                Column(_("Why"), _why),
            ],
            _key,
            self,
        )
        self.model.more = self._has_older
        self.model.fetch = self._ask_older
        self.filter = Filter(self.model, self)
        self.bar = FilterBar(
            self._filter,
            {
                "": _("All verdicts"),
                "accept": _("Allowed"),
                "drop": _("Denied"),
                "reject": _("Rejected"),
            },
        )
        self.table = Table(self.model, self.filter, _("Decisions"))
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setFont(fixed_font())
        self.details.setPlaceholderText(_("Select a decision to see all that was known."))
        selection = self.table.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._show_details)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self.table)
        split.addWidget(self.details)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 1)
        layout = page(self)
        layout.addWidget(self.bar)
        layout.addWidget(split, 1)
        layout.addWidget(self.summary)
        connection.arrived.connect(self._on_arrived)

    def refresh(self) -> None:
        """Ask for the last records, once for each connection."""
        if self._oldest is None and not self._is_asking:
            self._is_asking = True
            self.connection.ask(HistoryRequest(None), self._on_last)
        self._take_in()

    def _on_connection(self) -> None:
        if self.connection.link is not Link.ON:
            self._oldest, self._is_asking = None, False
        super()._on_connection()

    def _on_arrived(self, reply: Reply) -> None:
        if isinstance(reply, Recorded):
            self._new.appendleft(reply.record)
            if self.isVisible() and not self._gather.isActive():
                self._gather.start()
        elif isinstance(reply, Missed):
            self._missed += reply.count
            self._summarize()

    def _on_last(self, reply: Reply | None) -> None:
        self._is_asking = False
        if not isinstance(reply, History):
            return
        self._oldest = reply.first
        # What is not here yet is older than all that came by itself since this connection began,
        # and newer than what was shown before it.
        self.model.insert(0, self._unknown(reply.rows))
        self._take_in()

    def _has_older(self) -> bool:
        return self._oldest is not None and self._oldest > 1 and len(self.model.rows) < MOST_KEPT

    def _ask_older(self) -> None:
        if self._has_older() and not self._is_asking:
            self._is_asking = True
            self.connection.ask(HistoryRequest(self._oldest), self._on_older)

    def _on_older(self, reply: Reply | None) -> None:
        self._is_asking = False
        if not isinstance(reply, History) or self._oldest is None:
            return
        self._oldest = reply.first if reply.rows else 1
        room = max(0, MOST_KEPT - len(self.model.rows))
        self.model.insert(len(self.model.rows), self._unknown(reply.rows)[:room])
        self._summarize()

    def _take_in(self) -> None:
        """Show what has come meanwhile; the oldest make room."""
        shown_last = {_key(row) for row in self.model.rows[:_OVERLAP]}
        new = [row for row in self._new if _key(row) not in shown_last]
        self._new.clear()
        self.model.insert(0, new)
        surplus = len(self.model.rows) - MOST_KEPT
        self.model.remove(MOST_KEPT, surplus)
        self._summarize()

    def _unknown(self, rows: tuple[Row, ...]) -> list[Row]:
        """Return those of *rows* that are not here yet, the latest first."""
        have = {_key(row) for row in (*self._new, *self.model.rows)}
        return [row for row in reversed(rows) if _key(row) not in have]

    def _filter(self) -> None:
        verdict = self.bar.key()
        self.filter.show_only(
            self.bar.field.text(),
            (lambda row: row.get("verdict") == verdict) if verdict else None,
        )
        self._summarize()

    def _summarize(self) -> None:
        text = counted("{n} decision", "{n} decisions", self.filter.rowCount())
        if self._missed:
            missed = counted("{n} was missed", "{n} were missed", self._missed)
            text = f"{text}; {missed}"
        self.summary.setText(text)

    def _show_details(self) -> None:
        places = self.table.selected_places()
        row = self.filter.row(self.filter.index(places[0], 0)) if places else None
        self.details.setPlainText("" if row is None else full_text(row))


def time_text(row: Row) -> str:
    """Return when it was, in local time; with the date, if that was not today."""
    text = str(row.get("time", row.get("since", "")))[:40]
    moment = QDateTime.fromString(text, Qt.DateFormat.ISODateWithMs).toLocalTime()
    if not moment.isValid():
        return shown(text)
    if moment.date() == QDateTime.currentDateTime().date():
        return moment.toString("HH:mm:ss")
    day = QLocale().toString(moment.date(), QLocale.FormatType.ShortFormat)
    return f"{day} {moment.toString('HH:mm')}"


def _key(row: Row) -> object:
    names = ("time", "verdict", "pid", "proto", "saddr", "sport", "daddr", "dport")
    return tuple(str(row.get(name)) for name in names)


def _verdict(row: Row) -> str:
    return action_done(str(row.get("verdict")))


def _tint(row: Row) -> str:
    return _TINTS.get(str(row.get("verdict")), "")


def _why(row: Row) -> str:
    rule = row.get("rule")
    if isinstance(rule, str):
        return shown(rule)
    reasons = {
        "default": _("no rule"),
        "unattributed": _("owner not known"),
        "unidentified": _("which binary it is, is not known"),
    }
    reason = str(row.get("reason", ""))
    return reasons.get(reason, shown(reason))
