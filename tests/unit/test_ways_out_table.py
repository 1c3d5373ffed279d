"""The table of ways out in the docs: made of what the test run has kept, and complete."""

from __future__ import annotations

import re
from pathlib import Path

from ways.cells import COLUMN, Cell, keep, kept
from ways.page import PAGE, page
from ways.table import WAYS

CURL = WAYS[0].name


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of the table by their titles."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {title.strip(): [each.strip() for each in rest] for title, *rest in cells[2:]}


def test_the_last_of_each_cell_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "cells"
    worse, better = (Cell("6.1", "lsm", "core", CURL, right, 20) for right in (19, 20))

    keep([worse], file)
    keep([better], file)

    assert kept(file) == [better]
    assert kept(tmp_path / "none") == []


def test_a_cell_says_how_many_were_right_and_why_not_all() -> None:
    text = page(
        [
            Cell("6.12", "lsm", "core", CURL, 20, 20),
            Cell("6.1", "cgroup", "core", CURL, 0, 20, "nobody saw it"),
            Cell("6.1", "lsm", "core", CURL, 0, 0, "nothing to see"),
            Cell("6.1", "kprobe", "bcc", CURL, 0, 20, "nobody saw it"),
        ]
    )

    assert rows(text)[WAYS[0].title] == ["0/20 [1]", "none [2]", "0/20 [1]", "20/20"]
    assert "1. nobody saw it" in text
    assert "2. nothing to see" in text


def test_a_column_that_cannot_be_had_is_named_with_the_reason() -> None:
    text = page([Cell("6.18", "lsm", "core", COLUMN, 0, 0, "refused")])

    assert "6.18, `lsm`, `core`: refused" in text
    assert rows(text)[WAYS[0].title] == []


def test_the_page_has_a_row_for_each_way_and_no_cell_below_all_without_a_reason() -> None:
    found = rows(PAGE.read_text(encoding="utf-8"))

    assert list(found) == [way.title for way in WAYS]
    assert len(found) >= 24
    for title, cells in found.items():
        for cell in cells:
            right = re.fullmatch(r"(\d+)/(\d+)( \[\d+\])?|none \[\d+\]", cell)
            assert right is not None, (title, cell)
            assert right[3] or right[1] == right[2], (title, cell)
