"""Sets of ports and addresses, kept as sorted disjoint ranges and searched by bisection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nfsnitch.core.flow import Family

ADDRESS_BYTES = {Family.IPV4: 4, Family.IPV6: 16}
"""Length of a packed address."""


class AddressRange(NamedTuple):
    """All addresses of one family from `first` to `last`, both included, as integers."""

    family: Family
    first: int
    last: int


class PortRange(NamedTuple):
    """All ports from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Ports:
    """A set of ports; `firsts` ascends, and `lasts` has the other end of each range."""

    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    def __contains__(self, port: object) -> bool:
        """Whether *port* is in one of the ranges."""
        if not isinstance(port, int):
            return False
        at = bisect_right(self.firsts, port)
        return at > 0 and port <= self.lasts[at - 1]


def ports(ranges: Iterable[PortRange]) -> Ports:
    """Return the set of all ports in *ranges*, which may overlap and have any order."""
    ranges = list(ranges)
    if len(ranges) == 1:  # as of most rules, of which there may be many
        first, last = ranges[0]
        one = (first,)
        return Ports(one, one if first == last else (last,))
    merged = _merged(ranges)
    firsts = tuple(first for first, _ in merged)
    lasts = tuple(last for _, last in merged)
    return Ports(firsts, firsts if firsts == lasts else lasts)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A set of addresses, each family for itself: ::ffff:192.0.2.1 is not 192.0.2.1.

    The ends of the ranges are packed addresses. Of one length, they sort as their numbers do, so
    an address is looked up just as the packet has it.
    """

    firsts4: tuple[bytes, ...]
    lasts4: tuple[bytes, ...]
    firsts6: tuple[bytes, ...]
    lasts6: tuple[bytes, ...]

    def __contains__(self, packed: object) -> bool:
        """Whether the *packed* address (4 or 16 bytes) is in one of the ranges."""
        if not isinstance(packed, bytes):
            return False
        if len(packed) == 4:  # noqa: PLR2004
            firsts, lasts = self.firsts4, self.lasts4
        else:
            firsts, lasts = self.firsts6, self.lasts6
        at = bisect_right(firsts, packed)
        return at > 0 and packed <= lasts[at - 1]

    @property
    def families(self) -> frozenset[Family]:
        """The families of which there are addresses in the set."""
        found = ((Family.IPV4, self.firsts4), (Family.IPV6, self.firsts6))
        return frozenset(family for family, firsts in found if firsts)


def addresses(ranges: Iterable[AddressRange]) -> Addresses:
    """Return the set of all addresses in *ranges*, which may overlap and have any order."""
    ranges = list(ranges)
    if len(ranges) == 1 and ranges[0].family is Family.IPV4:  # see above
        _, first, last = ranges[0]
        firsts = (first.to_bytes(4, "big"),)
        lasts = firsts if first == last else (last.to_bytes(4, "big"),)
        return Addresses(firsts, lasts, (), ())
    merged = merged_addresses(ranges)
    return Addresses(
        *(_packed_ends(merged, Family.IPV4)),
        *(_packed_ends(merged, Family.IPV6)),
    )


def merged_addresses(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """Return the same addresses as the fewest ranges there can be, in ascending order."""
    by_family: dict[Family, list[tuple[int, int]]] = {family: [] for family in Family}
    for family, first, last in ranges:
        by_family[family].append((first, last))
    return tuple(
        AddressRange(family, first, last)
        for family, ends in by_family.items()
        for first, last in _merged(ends)
    )


def _packed_ends(
    merged: Iterable[AddressRange], family: Family
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    length = ADDRESS_BYTES[family]
    ends = [(first, last) for each, first, last in merged if each is family]
    firsts = tuple(first.to_bytes(length, "big") for first, _ in ends)
    if all(first == last for first, last in ends):
        return firsts, firsts
    return firsts, tuple(last.to_bytes(length, "big") for _, last in ends)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
