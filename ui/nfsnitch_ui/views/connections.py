"""The connections under way."""

from __future__ import annotations

from nfsnitch.protocol import Connections, ConnectionsRequest, Reply
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.facts import flow_of, known, owner_of, program_name, user_name
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.icons import letter_icon
from nfsnitch_ui.views.table import Column, Filter, Row, RowsModel, Table
from nfsnitch_ui.views.view import FilterBar, View, page
from nfsnitch_ui.words import destination, port_text, protocol

_EVERY_MS = 2_000


def program_columns() -> list[Column]:
    """Return the columns that say who."""
    return [
        Column(
            _("Program"),
            lambda row: program_name(owner_of(row)),
            icon=lambda row: letter_icon(program_name(owner_of(row))),
        ),
        Column(_("User"), lambda row: user_name(owner_of(row)) or "", width_ems=11),
    ]


def place_columns() -> list[Column]:
    """Return the columns that say where to."""
    return [
        Column(_("Destination"), lambda row: destination(flow_of(row))),
        Column(_("Port"), lambda row: port_text(flow_of(row)) or "", _port_order, width_ems=8),
        Column(_("Protocol"), lambda row: protocol(flow_of(row)), width_ems=6),
    ]


class ConnectionsView(View):
    """A table of them, asked for anew every two seconds while it is seen."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, _EVERY_MS)
        self.model = RowsModel(
            [
                *program_columns(),
                *place_columns(),
                Column(_("Interface"), lambda row: known(row.get("iface")) or "", width_ems=6),
            ],
            _key,
            self,
        )
        self.filter = Filter(self.model, self)
        self.bar = FilterBar(lambda: self.filter.show_only(self.bar.field.text()))
        self.table = Table(self.model, self.filter, _("Connections under way"))
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, self.table.horizontalHeader().sortIndicatorOrder())  # type: ignore[union-attr]  # a table has one
        layout = page(self)
        layout.addWidget(self.bar)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.summary)

    def refresh(self) -> None:
        """Ask which there are."""
        self.connection.ask(ConnectionsRequest(), self._on_reply)

    def _on_reply(self, reply: Reply | None) -> None:
        if not isinstance(reply, Connections):
            return
        self.model.replace(reply.rows)
        text = counted("{n} connection", "{n} connections", reply.total)
        if len(reply.rows) < reply.total:
            listed = counted("{n} is listed", "{n} are listed", len(reply.rows))
            text = f"{text}; {listed}"
        self.summary.setText(text)


def _key(row: Row) -> object:
    flow = flow_of(row)
    return tuple(str(flow.get(key)) for key in ("proto", "saddr", "sport", "daddr", "dport"))


def _port_order(row: Row) -> float:
    port = flow_of(row).get("dport")
    return float(port) if isinstance(port, int) else -1.0
