"""Lists of domains and networks that others keep: blocklists and the like."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol


class ListFormat(StrEnum):
    """How the lines of a list are to be read."""

    AUTO = "auto"
    """As most of its first lines look."""
    HOSTS = "hosts"
    """hosts(5): an address, and names."""
    DOMAINS = "domains"
    """One domain on each line; what is below it is meant, too."""
    ADBLOCK = "adblock"
    """``||domain^`` of Adblock Plus filter lists; other filters are counted and left out."""
    NETWORKS = "networks"
    """One address or block on each line."""


class Entry(NamedTuple):
    """The line of a list that a destination was found by."""

    list_name: str
    line: int
    """From 1."""
    text: str
    """What is listed there: a domain or a network."""


class CompiledList(Protocol):
    """A list in a form that can be asked. Never raises for any name or address."""

    @property
    def names(self) -> int:
        """How many domains it has."""

    @property
    def networks(self) -> int:
        """How many networks it has."""

    def has_name(self, name: str) -> bool:
        """Whether *name* or a domain above it is listed: what a decision waits for."""

    def has_address(self, packed: bytes) -> bool:
        """Whether a network around an address is listed."""

    def find_name(self, name: str) -> Entry | None:
        """Return the entry for *name* or for the nearest domain above it; None: there is none.

        *name* is as in `core.name.Name.text`.
        """

    def find_address(self, packed: bytes) -> Entry | None:
        """Return the entry of the smallest network around an address of 4 or 16 bytes."""


class ListDefinition(NamedTuple):
    """A list as the rule file speaks of it."""

    name: str
    where: str
    """The absolute path of a file, or a URL of http or https."""
    format: ListFormat = ListFormat.AUTO
    refresh_s: int = 86_400
    """How often it is looked whether there is a newer one."""
    sha256: str | None = None
    """Of the only text that is taken, in hexadecimal digits."""
    origin: str = ""
    """Where it was read, ``file:line``."""


class NamedList:
    """One list under its name: what rules hold on to while its content comes and changes."""

    def __init__(self, definition: ListDefinition) -> None:
        self.definition = definition
        self.content: CompiledList | None = None
        """None: there is none yet (it was never read), and nothing is known to be listed."""
