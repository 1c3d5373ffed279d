"""Nested blocks of addresses → stretches without a gap, each with the smallest block around it.

So one binary search finds the smallest block around an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """From this address on, until the next stretch begins."""

    first: int
    block: int
    """Index of the smallest block around it, from 1; 0: there is none."""


def stretches(blocks: Sequence[tuple[int, int]], bits: int) -> list[Stretch]:
    """Return all stretches of *blocks*: first address and prefix of each, sorted, none twice.

    Blocks that overlap are nested. Addresses have *bits* bits. The first stretch begins at 0.
    """
    found = [Stretch(0, 0)]
    around: list[tuple[int, int]] = []
    """Last address and number of the blocks around, the smallest one last."""
    for number, (first, prefix) in enumerate(blocks, 1):
        while around and around[-1][0] < first:
            _end_of_smallest(found, around, bits)
        _begin(found, first, number)
        around.append((first + (1 << (bits - prefix)) - 1, number))
    while around:
        _end_of_smallest(found, around, bits)
    return found


def _end_of_smallest(found: list[Stretch], around: list[tuple[int, int]], bits: int) -> None:
    last, _ = around.pop()
    if last + 1 < 1 << bits:
        _begin(found, last + 1, around[-1][1] if around else 0)


def _begin(found: list[Stretch], first: int, block: int) -> None:
    if found[-1].first == first:
        found.pop()
    found.append(Stretch(first, block))
