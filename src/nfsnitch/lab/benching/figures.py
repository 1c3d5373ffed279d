"""Figures of what was measured: quantiles, medians over rounds, what was added, ratios. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Figures = dict[str, float]
"""Name of a figure, with its unit behind it → value."""

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_NS_A_US = 1_000
_HEAD_WORDS = 3
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Connects:
    """What bench_connect says: how long each connection took to be made."""

    wall_ns: int
    failed: int
    times_ns: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> Connects:
        """Return what its output says.

        Raises:
            ValueError: it is not such an output, or not a single connection was made.

        """
        words = text.split()
        if len(words) <= _HEAD_WORDS or not all(map(str.isdecimal, words)):
            raise ValueError(f"not a time of any connection: {text[:_SHOWN]!r}")
        wall_ns, made, failed, *times_ns = map(int, words)
        if made != len(times_ns):
            raise ValueError(f"not a time of each connection: {len(times_ns)} of {made}")
        return cls(wall_ns, failed, tuple(times_ns))

    @property
    def count(self) -> int:
        """How many were tried."""
        return len(self.times_ns) + self.failed

    @property
    def per_s(self) -> float:
        """How many were made in a second."""
        return len(self.times_ns) / (self.wall_ns / 1e9)

    def quantiles(self, prefix: str) -> Figures:
        """Return the quantiles in µs, named ``PREFIX_p50_us`` and so on."""
        ordered = sorted(self.times_ns)
        return {
            f"{prefix}_{name}_us": quantile(ordered, share) / _NS_A_US
            for name, share in QUANTILES.items()
        }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the values, sorted, that *share* of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the rounds in which there is one."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: median(each[name] for each in rounds if name in each) for name in names}


def added(of: Mapping[str, float], none: Mapping[str, float], name: str) -> float | None:
    """Return by how much a figure is larger than with no firewall; None if one is not known."""
    if name not in of or name not in none:
        return None
    return of[name] - none[name]


def ratio(value: float | None, other: float | None) -> float | None:
    """Return how many times *other* it is; None if that cannot be said."""
    if value is None or other is None or other <= 0:
        return None
    return value / other
