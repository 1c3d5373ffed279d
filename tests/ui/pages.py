"""Rows as the daemon hands them out, and as a table shows them."""

from __future__ import annotations

from collections.abc import Callable

from nfsnitch.protocol import MOST_ROWS, Reply, Request, Rules, Silenced
from nfsnitch_ui.facts import Json
from nfsnitch_ui.views.table import RowsModel


def texts(model: RowsModel, column: int) -> list[str]:
    """Return what one column shows."""
    return [model.columns[column].text(row) for row in model.rows]


def paged(kind: type[Reply], rows: list[Json]) -> Callable[[Request], Reply]:
    """Return an answer of some rows, as a daemon gives it."""

    def answer(request: Request) -> Reply:
        first = getattr(request, "first", 0)
        some = tuple(rows[first : first + MOST_ROWS])
        return Rules(1, len(rows), some) if kind is Rules else Silenced(len(rows), some)

    return answer
