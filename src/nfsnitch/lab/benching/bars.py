"""The bars: what the figures of one run are to keep, as ratios where that can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nfsnitch.lab.benching.cases import (
    CACHED,
    MANY_RULES,
    NEW,
    NFSNITCH,
    NONE,
    OPENSNITCH,
    PYTHON_WORKER,
    TRACKING,
)
from nfsnitch.lab.benching.figures import added, ratio
from nfsnitch.lab.benching.result import Result

LATENCIES = {
    "connect_p50_us": "p50, 1 client",
    "connect_p99_us": "p99, 1 client",
    "crowd_p50_us": "p50, 8 clients",
    "crowd_p99_us": "p99, 8 clients",
}
_DECIDED = {NEW: "to a new address", NFSNITCH: "each decided by the daemon"}
"""Where a rule decides flows that are new."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure, and what it may be at most (or at least)."""

    what: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether it is on the right side."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def added_ratio(result: Result, name: str, other: str, figure: str) -> float | None:
    """Return how many times *other*'s added latency the contender adds."""
    none = result.of(NONE)
    value = added(result.of(name), none, figure)
    return ratio(value, added(result.of(other), none, figure))


_OF_TIME = {" µs", " s", " %"}


def bars(result: Result) -> list[Bar]:
    """Return all whose figures are there, and mean something: no times of an emulated processor."""
    found = [*_latencies(result), *_cached(result), *_single(result), *_rival(result)]
    return [bar for bar in found if not (result.machine["emulated"] and bar.unit in _OF_TIME)]


def _rival(result: Result) -> Iterator[Bar]:
    """Yield by how much more the rival adds and takes."""
    for ours, which in _DECIDED.items():
        for figure, title in LATENCIES.items():
            found = added_ratio(result, OPENSNITCH, ours, figure)
            if found is not None:
                what = f"OpenSnitch's added latency, {title}, to ours: {which}"
                yield Bar(what, found, 6, "x", at_least=True)
        theirs = result.of(OPENSNITCH).get("cpu_s_per_1000")
        found = ratio(theirs, result.of(ours).get("cpu_s_per_1000"))
        if found is not None:
            what = f"OpenSnitch's CPU per 1,000 flows, to ours: {which}"
            yield Bar(what, found, 6, "x", at_least=True)


def _latencies(result: Result) -> Iterator[Bar]:
    for ours, which in _DECIDED.items():
        for figure, title in LATENCIES.items():
            found = added_ratio(result, ours, PYTHON_WORKER, figure)
            if found is not None:
                what = f"{which}: added latency, {title}, to the Python worker's"
                yield Bar(what, found, 1.5, "x")
    found = added_ratio(result, MANY_RULES, NFSNITCH, "connect_p50_us")
    if found is not None:
        yield Bar("the same p50 with very many rules, to that with few", found, 1.2, "x")


def _cached(result: Result) -> Iterator[Bar]:
    """Yield what a flow costs whose answer the kernel knows."""
    cached = result.of(CACHED)
    what = "added latency, p50, where it was decided before"
    for other, to in ((TRACKING, ", to connection tracking alone"), (NONE, ", to nothing at all")):
        p50_us = added(cached, result.of(other), "connect_p50_us")
        if p50_us is not None:
            yield Bar(what + to, p50_us, 3, " µs")
    queued = cached.get("queued_per_1000")
    if queued is not None:
        # The first flow of a program must be decided; and those for whose records there is no room.
        yield Bar("of 1,000 such flows queued", queued, 1)


def _single(result: Result) -> Iterator[Bar]:
    mine, many = result.of(CACHED), result.of(MANY_RULES)
    tcp, tracked = (
        ratio(mine.get("tcp_mbit_s"), result.of(other).get("tcp_mbit_s"))
        for other in (NONE, TRACKING)
    )
    wanted: list[tuple[str, float | None, float, str, bool]] = [
        ("established TCP, to no firewall's", tcp, 0.99, "x", True),
        ("established TCP, to that with connection tracking alone", tracked, 0.99, "x", True),
        ("packets of a one-way UDP stream queued", mine.get("one_way_queued"), 1, "", False),
        ("reading very many rules again", many.get("reload_s"), 2, " s", False),
        ("memory with few rules", mine.get("pss_mb"), 40, " MB", False),
        ("memory with very many rules", many.get("pss_mb"), 120, " MB", False),
        ("the same after several readings", many.get("reload_pss_mb"), 120, " MB", False),
        ("idle", mine.get("idle_percent"), 0.1, " %", False),
    ]
    for what, value, limit, unit, at_least in wanted:
        if value is not None:
            yield Bar(what, value, limit, unit, at_least)
