"""Makes docs/ways-out.md of what the test run has kept (``make ways-out``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ways.cells import COLUMN, Cell, kept
from ways.table import WAYS

PAGE = Path(__file__).parents[2] / "docs" / "ways-out.md"
_MODES = ("cgroup", "lsm", "kprobe")

_INTRODUCTION = """\
# Ways out

<!-- Made by `make ways-out` of what the test run has counted; not to be edited. -->

Every way in which a packet comes to leave, tried before a running firewall: in so many of so many
tries the record had the right process, executable (path, inode, deleted or not), user and opener,
and nobody else beside it. `tests/ways` has the ways, `tests/netns/test_ways_out_each.py` does the
counting, on the machine's own kernel and on those of `make test-vm`.

    make test              # counts, with the CO-RE object
    make test-bcc          # counts, with programs that bcc compiles
    make ways-out          # writes this page

Packets of packet sockets (`AF_PACKET`) never come by netfilter; see `nfsnitch doctor`.

Where a process opened the socket that another one sends by, the one that sends is the owner, and
the record's `opener` names the other. Of a socket older than the daemon the opener is unknown."""


class Column(NamedTuple):
    """A kernel, an attach mode and a loader."""

    kernel: str
    mode: str
    loader: str

    def order(self) -> tuple[object, ...]:
        """Return by what the columns are sorted."""
        numbers = [int(each) for each in self.kernel.split(".")]
        return (numbers, self.loader != "core", _MODES.index(self.mode))


def page(cells: Iterable[Cell]) -> str:
    """Return the page's text."""
    by_place = {(Column(*cell[:3]), cell.way): cell for cell in cells}
    known = {way.name for way in WAYS}
    columns = sorted({place for place, way in by_place if way in known}, key=Column.order)
    reasons: list[str] = []
    heads = [f"{each.kernel} `{each.mode}` `{each.loader}`" for each in columns]
    lines = [_row(["way", *heads]), _row(["---"] * (len(columns) + 1))]
    for way in WAYS:
        found = [by_place.get((column, way.name)) for column in columns]
        lines.append(_row([way.title, *(_text(cell, reasons) for cell in found)]))
    refused = [(place, cell.why) for (place, way), cell in by_place.items() if way == COLUMN]
    parts = [_INTRODUCTION, "\n".join(lines)]
    if reasons:
        numbered = [f"{number}. {why}" for number, why in enumerate(reasons, 1)]
        parts += ["Why not all, or none:\n", "\n".join(numbered)]
    if refused:
        listed = sorted(refused, key=lambda each: each[0].order())
        parts += ["Attach modes that a kernel refuses:\n"]
        parts += ["\n".join(f"- {k}, `{mode}`, `{by}`: {why}" for (k, mode, by), why in listed)]
    return "\n".join(f"{part}\n" for part in parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell | None, reasons: list[str]) -> str:
    if cell is None:
        return ""
    if cell.why and cell.why not in reasons:
        reasons.append(cell.why)
    note = f" [{reasons.index(cell.why) + 1}]" if cell.why else ""
    return f"{cell.right}/{cell.tried}{note}" if cell.tried else f"none{note}"


if __name__ == "__main__":
    PAGE.write_text(page(kept()), encoding="utf-8")
