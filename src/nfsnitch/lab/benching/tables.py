"""The figures as tables, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nfsnitch.lab.benching.bars import added_ratio, bars
from nfsnitch.lab.benching.cases import C_WORKER, NONE, PYTHON_WORKER
from nfsnitch.lab.benching.figures import QUANTILES, Figures, ratio
from nfsnitch.lab.benching.result import Result

_UNKNOWN = "-"
Cell = Callable[[Result, str], float | None]
Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Column:
    """What a contender's cell says."""

    title: str
    value: Cell
    form: str = "{:,.0f}"

    def text(self, result: Result, name: str) -> str:
        """Return the cell."""
        value = self.value(result, name)
        return _UNKNOWN if value is None else self.form.format(value)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under a title."""

    title: str
    head: Sequence[str]
    rows: Rows


def tables(result: Result) -> list[Table]:
    """Return all tables of a run; contenders without any figure in one are not in it."""
    return [
        _table("New connections, 1 client: added to connect(2), µs", _latency("connect"), result),
        _table("New connections, 8 clients: added to connect(2), µs", _latency("crowd"), result),
        _table("What it takes", _COST, result),
        _table("Packets that need no decision", _STREAMS, result),
        _table("Reading the rules again, while one client connects", _RELOAD, result),
        _bars(result),
    ]


def _table(title: str, columns: Sequence[Column], result: Result) -> Table:
    rows = [
        [measured.title, *(column.text(result, name) for column in columns)]
        for name, measured in result.cases.items()
    ]
    kept = [row for row in rows if any(cell != _UNKNOWN for cell in row[1:])]
    return Table(title, ["", *(column.title for column in columns)], kept)


def _bars(result: Result) -> Table:
    rows = [
        [
            bar.what,
            f"{bar.value:.3g}{bar.unit}",
            f"{'≥' if bar.at_least else '≤'} {bar.limit:g}{bar.unit}",
            "kept" if bar.is_kept else "MISSED",
        ]
        for bar in bars(result)
    ]
    return Table("The bars", ["", "measured", "bar", ""], rows)


def _figure(figure: str, scale: float = 1.0) -> Cell:
    def value(result: Result, name: str) -> float | None:
        found: Figures = result.of(name)
        return found[figure] * scale if figure in found else None

    return value


def _added(figure: str) -> Cell:
    """Return the cell of what is added; in the row of no firewall, what there is without."""

    def value(result: Result, name: str) -> float | None:
        found, none = result.of(name).get(figure), result.of(NONE).get(figure)
        if found is None or none is None:
            return None
        return found if name == NONE else found - none

    return value


def _times(other: str, figure: str) -> Cell:
    def value(result: Result, name: str) -> float | None:
        return None if name == NONE else added_ratio(result, name, other, figure)

    return value


def _share(figure: str, other: str) -> Cell:
    def value(result: Result, name: str) -> float | None:
        found = ratio(result.of(name).get(figure), result.of(other).get(figure))
        return None if found is None else found * 100

    return value


def _times_plain(other: str, figure: str) -> Cell:
    def value(result: Result, name: str) -> float | None:
        return ratio(result.of(name).get(figure), result.of(other).get(figure))

    return value


def _latency(prefix: str) -> list[Column]:
    columns = [Column(name, _added(f"{prefix}_{name}_us")) for name in QUANTILES]
    columns += [
        Column(f"{name} x {who}", _times(other, f"{prefix}_{name}_us"), "{:.2f}")
        for who, other in (("Python", PYTHON_WORKER), ("C", C_WORKER))
        for name in ("p50", "p99")
    ]
    if prefix == "crowd":
        columns.append(Column("new flows/s", _figure("flows_per_s")))
    return columns


_COST = [
    Column("CPU s/1,000 flows", _figure("cpu_s_per_1000"), "{:.4f}"),
    Column("x Python", _times_plain(PYTHON_WORKER, "cpu_s_per_1000"), "{:.2f}"),
    Column("queued/1,000 flows", _figure("queued_per_1000")),
    Column("memory (PSS), MB", _figure("pss_mb"), "{:.1f}"),
    Column("BPF maps, MB", _figure("maps_mb"), "{:.1f}"),
    Column("start, s", _figure("start_s"), "{:.2f}"),
    Column("idle, % of a CPU", _figure("idle_percent"), "{:.3f}"),
    Column("idle, wake-ups/s", _figure("idle_wake_ups_per_s"), "{:.1f}"),
]
_STREAMS = [
    Column("TCP, Mbit/s", _figure("tcp_mbit_s")),
    Column("% of none", _share("tcp_mbit_s", NONE), "{:.1f}"),
    Column("UDP, Mbit/s", _figure("udp_mbit_s")),
    Column("% of none", _share("udp_mbit_s", NONE), "{:.1f}"),
    Column("arrived, %", _figure("udp_arrived_share", 100), "{:.1f}"),
    Column("one-way UDP: sent/s", _figure("one_way_sent_per_s")),
    Column("queued/s", _figure("one_way_queued_per_s")),
    Column("queued in all", _figure("one_way_queued")),
]
_RELOAD = [
    Column("took, s", _figure("reload_s"), "{:.3f}"),
    Column("connect(2), ms: p50", _figure("reload_connect_p50_us", 0.001), "{:.2f}"),
    Column("p99", _figure("reload_connect_p99_us", 0.001), "{:.1f}"),
    Column("slowest", _figure("reload_connect_max_us", 0.001), "{:.1f}"),
    Column("memory (PSS) then, MB", _figure("reload_pss_mb"), "{:.1f}"),
    Column("failed", _figure("reload_failed")),
]


def as_text(table: Table) -> str:
    """Return it for a terminal."""
    lines = [list(table.head), *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.head))]
    shown = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *(f"  {line}" for line in shown)])


def as_markdown(table: Table) -> str:
    """Return it for a page."""
    bounds = ["---", *("--:" for _ in table.head[1:])]
    lines = [table.head, bounds, *table.rows]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
