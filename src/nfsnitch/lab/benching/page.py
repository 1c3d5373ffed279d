"""The part of docs/performance.md that a run makes, its plots, and the figures behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nfsnitch.lab.benching import machine
from nfsnitch.lab.benching.cases import NONE
from nfsnitch.lab.benching.figures import added
from nfsnitch.lab.benching.plots import Group, bar_chart
from nfsnitch.lab.benching.result import Result
from nfsnitch.lab.benching.tables import as_markdown, tables
from nfsnitch.lab.programs import REPOSITORY

DOCS = REPOSITORY / "docs"
_PAGE, _KEPT, _PICTURES = "performance.md", "performance.json", "pictures"
BEGIN = "<!-- made by make bench ARGS='flows --write-docs' -->"
END = "<!-- end of what is made -->"


def write(result: Result, docs: Path = DOCS) -> None:
    """Put *result* into the page, in place of an earlier one of such a machine.

    Raises:
        ValueError: the page lacks the lines between which it is to stand.

    """
    kept = docs / _KEPT
    told = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    told[machine.key(result.machine)] = result.as_json()
    results = {name: Result.from_json(each) for name, each in sorted(told.items())}
    page = docs / _PAGE
    text = replaced(page.read_text("utf-8"), _body(results))
    (docs / _PICTURES).mkdir(exist_ok=True)
    for name, each in results.items():
        for plot, drawn in plots(each).items():
            (docs / _PICTURES / f"bench-{name}-{plot}.svg").write_text(drawn, "utf-8")
    # Not by name: contenders stand in the order in which they are measured.
    kept.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    page.write_text(text, "utf-8")


def replaced(text: str, body: str) -> str:
    """Return *text* with *body* between the two lines.

    Raises:
        ValueError: it has not exactly one of each.

    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page needs one line {BEGIN} and one line {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def plots(result: Result) -> dict[str, str]:
    """Return the plots by name, as SVG."""
    cost = [
        Group(each.title, [each.medians.get("cpu_s_per_1000")])
        for each in result.cases.values()
        if "cpu_s_per_1000" in each.medians
    ]
    return {
        "connect": _latency(result, "connect", "1 client"),
        "crowd": _latency(result, "crowd", "8 clients"),
        "cpu": bar_chart("CPU seconds per 1,000 new flows", ["CPU s"], cost),
    }


def _latency(result: Result, prefix: str, clients: str) -> str:
    none, names = result.of(NONE), ("p50", "p99", "max")
    groups = [
        Group(each.title, [added(each.medians, none, f"{prefix}_{at}_us") for at in names])
        for name, each in result.cases.items()
        if name != NONE and each.medians
    ]
    return bar_chart(f"Added to connect(2), µs, {clients} (logarithmic)", names, groups)


def _body(results: Mapping[str, Result]) -> str:
    return "\n\n".join(_section(name, each) for name, each in results.items())


def _section(name: str, result: Result) -> str:
    on = result.machine
    emulated = ", emulated (only the ratios mean something)" if on["emulated"] else ""
    about = (
        f"{on['processors']} x {on['processor']}, {on['memory_gib']} GiB{emulated}; Python "
        f"{on['python']}; throughput by {on['streams_by']}. Medians of {result.rounds} rounds on "
        f"{result.date}, which took {result.took_s:.0f} s."
    )
    missing = [
        f"- {each.title}: not measured: {each.problem}"
        for each in result.cases.values()
        if each.problem
    ]
    pictures = [
        f"![{plot}]({_PICTURES}/bench-{name}-{plot}.svg)" for plot in ("connect", "crowd", "cpu")
    ]
    parts = [f"### Linux {on['kernel']}", about, *missing]
    parts += [as_markdown(table) for table in tables(result)]
    return "\n\n".join([*parts, *pictures])
