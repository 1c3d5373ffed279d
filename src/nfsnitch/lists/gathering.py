"""All that a list says, each thing once, with the line that says it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from nfsnitch.lists.formats import Reader
from nfsnitch.lists.items import BadLineError, Domain, Item, Network, Scope
from nfsnitch.lists.report import Report

_K = TypeVar("_K")

MOST_ENTRIES = 5_000_000
"""Of one list: what takes a gigabyte to compile."""

EXCEPTION = 1 << 31
BELOW = 1 << 30
LINE = BELOW - 1
"""A line's number and two flags in 32 bits: not listed after all; what is below it alone."""

EXACT_END = "!"
"""Ends the key of a name that is meant alone; no character of a domain."""


class TooManyError(Exception):
    """A list with more entries than is ever compiled."""


class Gathered(NamedTuple):
    """What is to be compiled."""

    names: dict[str, int]
    """Key → line and flags. See `key_of`."""
    networks: dict[Network, int]
    """Line of each."""


def key_of(name: str) -> str:
    """Return the key that finds a name and all domains above it by one look-up of its prefixes.

    It is the name reversed, and a dot: the key of each domain above is a prefix of it, and what is
    no domain above it has none that is. That of a name meant alone has `EXACT_END` behind it.
    """
    return name[::-1] + "."


def name_of(key: str) -> str:
    """Return the name that *key* was made of."""
    return key.removesuffix(EXACT_END)[-2::-1]


class Gathering:
    """Takes what the lines say."""

    def __init__(self, report: Report, most: int = MOST_ENTRIES) -> None:
        self.report = report
        self._most = most
        self._names: dict[str, int] = {}
        self._networks: dict[Network, int] = {}
        self._exceptions: dict[str, int] = {}
        self._important: set[str] = set()

    def read(self, line: str, number: int, reader: Reader) -> None:
        """Take a line, not empty, as *reader* reads it.

        Raises:
            TooManyError: there is no room for more.

        """
        try:
            items = reader(line)
            if items is None:
                self.report.comments += 1
                return
            for item in items:
                self._take(item, number)
        except BadLineError as error:
            self.report.error(number, line, str(error))

    def _take(self, item: Item, number: int) -> None:
        if isinstance(item, Domain):
            self._take_domain(item, number)
        elif isinstance(item, Network):
            self._note(self._networks, item, number)
        else:
            self.report.unsupported[item.kind] += 1

    def _take_domain(self, item: Domain, number: int) -> None:
        key = key_of(item.name)
        if item.is_exception:
            self._note(self._exceptions, key, number)
            return
        if item.is_important:
            self._important.add(key)
        if item.scope is Scope.EXACT:
            self._note(self._names, key + EXACT_END, number)
        elif item.scope is Scope.BELOW:
            self._note(self._names, key, number | BELOW)
        elif self._names.get(key, 0) & BELOW:  # more is said now
            self._names[key] = number
        else:
            self._note(self._names, key, number)

    def _note(self, known: dict[_K, int], key: _K, number: int) -> None:
        if key in known:
            self.report.duplicates += 1
            return
        if len(self._names) + len(self._networks) + len(self._exceptions) >= self._most:
            raise TooManyError(f"it has more than {self._most:,} entries")
        known[key] = number

    def gathered(self) -> Gathered:
        """Return it all, and count it; nothing can be taken any more."""
        report, names = self.report, self._names
        report.exceptions, report.networks = len(self._exceptions), len(self._networks)
        if self._exceptions:
            self._settle()
        exceptions = (
            sum(1 for line in names.values() if line & EXCEPTION) if self._exceptions else 0
        )
        report.domains = len(names) - exceptions
        return Gathered(names, self._networks)

    def _settle(self) -> None:
        """Leave what makes the nearest entry of a name decide: see docs/lists.md."""
        names, important = self._names, self._important
        exceptions = {
            key: line
            for key, line in self._exceptions.items()
            if not any(above in important for above in _at_and_above(key))
        }
        taken_back = [
            key
            for key in names
            if key not in important and any(above in exceptions for above in _at_and_above(key))
        ]
        for key in taken_back:
            del names[key]
        self.report.excepted = len(taken_back)
        for key, line in exceptions.items():
            if any(above in names for above in _at_and_above(key)):
                names[key] = line | EXCEPTION


def _at_and_above(key: str) -> Iterator[str]:
    """Yield the keys of a name and of all domains above it."""
    at = key.find(".")
    while at >= 0:
        yield key[: at + 1]
        at = key.find(".", at + 1)
