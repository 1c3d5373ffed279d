"""Blocks of addresses or ports, each with something that belongs to it.

A block is all values that begin with the same bits, as 192.0.2.0/24 is; any other range is a few of
them, one after the other. All blocks around a value are found by one look-up for each length that
there is, however many blocks there are. A dictionary does that with less memory touched than a
bisection, and has all of them: libraries for prefixes (radix trees) find the longest alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from nfsnitch.core.flow import Family
from nfsnitch.core.ranges import ADDRESS_BYTES, Addresses, Ports

T = TypeVar("T")
_PORT_BYTES = 0
_V4, _V6 = ADDRESS_BYTES[Family.IPV4], ADDRESS_BYTES[Family.IPV6]


class Block(NamedTuple):
    """All values that begin with the same bits."""

    length: int
    """Of the packed addresses, in bytes; 0: it is one of ports."""
    free_bits: int
    """How many bits may be anything."""
    prefix: int
    """The bits before those."""


class Blocks(Generic[T]):
    """What belongs to each of many blocks. Nobody changes it."""

    __slots__ = ("_tables",)

    def __init__(self, things: Mapping[Block, T]) -> None:
        tables: dict[int, dict[int, dict[int, T]]] = {}
        for (length, free_bits, prefix), thing in things.items():
            tables.setdefault(length, {}).setdefault(free_bits, {})[prefix] = thing
        self._tables = {length: tuple(by_bits.items()) for length, by_bits in tables.items()}

    @classmethod
    def of_tables(cls, tables: Iterable[tuple[int, int, dict[int, T]]]) -> Blocks[T]:
        """Return those of *tables*, as they are told apart by `tables`."""
        found = cls({})
        for length, free_bits, by_prefix in tables:
            found._tables[length] = (*found._tables.get(length, ()), (free_bits, by_prefix))
        return found

    @property
    def tables(self) -> Iterator[tuple[int, int, dict[int, T]]]:
        """All blocks of one length and so many free bits, by their prefixes; nobody changes it."""
        for length, tables in self._tables.items():
            for free_bits, by_prefix in tables:
                yield length, free_bits, by_prefix

    def around(self, value: object) -> list[T]:
        """Return what belongs to each of the blocks that *value* is in; an Unknown is in none."""
        if isinstance(value, bytes):
            tables = self._tables.get(len(value), ())
            number = int.from_bytes(value, "big")
        elif isinstance(value, int):
            tables = self._tables.get(_PORT_BYTES, ())
            number = value
        else:
            return []
        found = []
        for free_bits, by_prefix in tables:
            thing = by_prefix.get(number >> free_bits)
            if thing is not None:
                found.append(thing)
        return found


def blocks_of(ranges: Addresses | Ports) -> Iterator[Block | int | bytes]:
    """Yield blocks that have together what is in *ranges*; of one value, the value itself."""
    if isinstance(ranges, Ports):
        for first, last in zip(ranges.firsts, ranges.lasts, strict=True):
            if first == last:
                yield first
            else:
                yield from _blocks(_PORT_BYTES, first, last)
        return
    yield from _address_blocks(_V4, ranges.firsts4, ranges.lasts4)
    yield from _address_blocks(_V6, ranges.firsts6, ranges.lasts6)


def _address_blocks(
    length: int, firsts: tuple[bytes, ...], lasts: tuple[bytes, ...]
) -> Iterator[Block | bytes]:
    for first, last in zip(firsts, lasts, strict=True):
        if first == last:
            yield first
        else:
            yield from _blocks(length, int.from_bytes(first, "big"), int.from_bytes(last, "big"))


def _blocks(length: int, first: int, last: int) -> Iterator[Block]:
    """Yield the fewest blocks that there can be from *first* to *last*."""
    while first <= last:
        free_bits = (last - first + 1).bit_length() - 1
        if first:
            free_bits = min(free_bits, (first & -first).bit_length() - 1)
        yield Block(length, free_bits, first >> free_bits)
        first += 1 << free_bits
