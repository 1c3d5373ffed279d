"""A compiled list that lies in memory, or in a file that is mapped there, and can be asked.

Asking is what each flow waits for where a rule goes by lists: that is why the code below looks up
its own names beforehand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Final

from nfsnitch.core.listing import Entry
from nfsnitch.lists.gathering import BELOW, EXACT_END, EXCEPTION, LINE
from nfsnitch.lists.layout import (
    FLAGGED,
    IPV4,
    IPV6,
    LINES,
    LOW,
    LOW_BITS,
    TRIE,
    Description,
    SpoiledError,
    read,
)

_SENTINEL = "." + EXACT_END
_IPV4_BYTES = 4
_IPV6_BYTES = 16
_WORD: Final = "I"
_LONG: Final = "Q"


class Content:
    """What a compiled list holds; of what is large nothing is copied."""

    def __init__(self, whole: memoryview) -> None:
        """Use the bytes *whole*, which have to stay as they are.

        Raises:
            SpoiledError: they are no compiled list, or not as they were written.

        """
        self.description, sections = read(whole)
        try:
            self.names = _Names(sections) if TRIE in sections else None
            self.ipv4 = _Ipv4(sections) if "v4_starts" in sections else None
            self.ipv6 = _Ipv6(sections) if "v6_high" in sections else None
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OSError) as problem:
            raise SpoiledError(f"a section is missing or wrong ({problem})") from None


class _Names:
    """The trie of all names, and the line of each."""

    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        # Who has no lists shall not have it in memory.
        import marisa_trie  # noqa: PLC0415

        self._bytes = sections[TRIE]  # the trie does not keep what it points into
        trie = marisa_trie.Trie()
        trie.map(self._bytes)
        self.prefixes = trie.iter_prefixes_with_ids
        self._keys = trie.prefixes
        self._has_flags = FLAGGED in sections
        self.lines = sections[LINES].cast(_WORD)
        if len(self.lines) != len(trie):
            raise ValueError("a line for each name")

    def has(self) -> Callable[[str], bool]:
        """Return what tells whether a name is listed."""
        if self._has_flags:
            find = self.finder("")
            return lambda name: find(name) is not None
        keys = self._keys

        def has_name(name: str) -> bool:
            try:
                return bool(keys(name[::-1] + _SENTINEL))
            except UnicodeEncodeError:  # bytes that were no text
                return False

        return has_name

    def finder(self, list_name: str) -> Callable[[str], Entry | None]:
        """Return what looks a name up for the list called *list_name*."""
        prefixes, lines, flagged = self.prefixes, self.lines, self._flagged

        def find_name(name: str) -> Entry | None:
            found = None
            try:
                for found in prefixes(name[::-1] + _SENTINEL):  # noqa: B007  the last one
                    pass
            except UnicodeEncodeError:  # bytes that were no text
                return None
            if found is None:
                return None
            key, number = found
            line = lines[number]
            if line > LINE:
                return flagged(list_name, name)
            text = key[-3::-1] if key[-1] == EXACT_END else key[-2::-1]
            return Entry(list_name, line, text)

        return find_name

    def _flagged(self, list_name: str, name: str) -> Entry | None:
        """Find a name in whose way there are flags; see `gathering`."""
        wanted = name[::-1] + _SENTINEL
        for key, number in reversed(list(self.prefixes(wanted))):
            line = self.lines[number]
            if line & EXCEPTION:
                return None
            text = key.removesuffix(EXACT_END)[-2::-1]
            if not line & BELOW:
                return Entry(list_name, line, text)
            if len(key) < len(wanted) - len(EXACT_END):
                return Entry(list_name, line & LINE, "*." + text)
        return None


class _Blocks:
    """The blocks of one family: which one each stretch is in, and line and text of each."""

    def __init__(self, sections: Mapping[str, memoryview], version: int, starts: int) -> None:
        self.at = sections[f"v{version}_blocks"].cast(_WORD)
        self._lines = sections[f"v{version}_lines"].cast(_WORD)
        self._texts = sections[f"v{version}_texts"]
        self._ends = sections[f"v{version}_text_ends"].cast(_WORD)
        if len(self.at) != starts or len(self._lines) != len(self._ends):
            raise ValueError("sections do not belong together")
        if max(self.at) >= len(self._lines) or self._ends[-1] != len(self._texts):
            raise ValueError("a block that is not there")

    def entry(self, list_name: str, block: int) -> Entry:
        """Return the entry of a block, by its number."""
        text = self._texts[self._ends[block - 1] : self._ends[block]]
        return Entry(list_name, self._lines[block], str(text, "ascii"))


class _Ipv4:
    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        self._starts = _copied(_WORD, sections["v4_starts"])
        self.blocks = _Blocks(sections, IPV4, len(self._starts))
        if self._starts[0] != 0:
            raise ValueError("the first stretch begins at 0")

    def finder(self) -> Callable[[int], int]:
        """Return what finds the number of the block around an address; 0: there is none."""
        starts, at = self._starts, self.blocks.at

        def find(address: int) -> int:
            return at[bisect_right(starts, address) - 1]

        return find


class _Ipv6:
    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        self._high = _copied(_LONG, sections["v6_high"])
        self._low = sections["v6_low"].cast(_LONG)
        self.blocks = _Blocks(sections, IPV6, len(self._high))
        if len(self._high) != len(self._low) or self._high[0] or self._low[0]:
            raise ValueError("two halves of each address, and the first stretch begins at 0")

    def finder(self) -> Callable[[int], int]:
        """Return what finds the number of the block around an address; 0: there is none."""
        highs, lows, at = self._high, self._low, self.blocks.at

        def find(address: int) -> int:
            high = address >> LOW_BITS
            place = bisect_right(highs, high)
            if highs[place - 1] == high:
                first = bisect_left(highs, high, 0, place)
                place = bisect_right(lows, address & LOW, first, place)
            return at[place - 1]

        return find


def _copied(kind: str, section: memoryview) -> array[int]:
    """Return what is searched: in an array, that takes half the time that a memoryview takes."""
    numbers = array(kind)
    numbers.frombytes(section)
    return numbers


class CompiledContent:
    """A compiled list under the name that rules know it by: a `core.listing.CompiledList`."""

    def __init__(self, list_name: str, content: Content) -> None:
        self._list_name, self._content = list_name, content
        self.has_name = content.names.has() if content.names else _never
        """Tells whether a name or a domain above it is listed."""
        self.find_name = content.names.finder(list_name) if content.names else _nothing
        """Returns the entry for a name or for the nearest domain above it; None: there is none."""
        self._ipv4 = content.ipv4.finder() if content.ipv4 else _no_block
        self._ipv6 = content.ipv6.finder() if content.ipv6 else _no_block

    @property
    def description(self) -> Description:
        """What it was made of."""
        return self._content.description

    @property
    def names(self) -> int:
        """How many domains it has."""
        return self.description.report.domains

    @property
    def networks(self) -> int:
        """How many networks it has."""
        return self.description.report.networks

    def find_address(self, packed: bytes) -> Entry | None:
        """Return the entry of the smallest network around an address of 4 or 16 bytes."""
        block = self._block(packed)
        family = self._content.ipv4 if len(packed) == _IPV4_BYTES else self._content.ipv6
        return family.blocks.entry(self._list_name, block) if block and family else None

    def has_address(self, packed: bytes) -> bool:
        """Whether a network around an address of 4 or 16 bytes is listed."""
        if len(packed) == _IPV4_BYTES:
            return self._ipv4(int.from_bytes(packed, "big")) != 0
        return self._block(packed) != 0

    def _block(self, packed: bytes) -> int:
        if len(packed) == _IPV4_BYTES:
            return self._ipv4(int.from_bytes(packed, "big"))
        if len(packed) == _IPV6_BYTES:
            return self._ipv6(int.from_bytes(packed, "big"))
        return 0


def _never(_name: str) -> bool:
    return False  # there are no names on the list


def _nothing(_name: str) -> None:
    return None


def _no_block(_address: int) -> int:
    return 0
