"""Rules of large files that stay as they are written until somebody asks for one of them.

A rule takes some hundred bytes in its file and several times that in memory, and of 100,000 rules
a machine meets a few hundred a day: the index says which. So what is kept of the others is the
files themselves, and where in them each rule begins. Whoever has read the files before has seen
that each of them can be read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple, NoReturn, overload

from nfsnitch.adapters.rulefile.drafts import Draft, Drafts, Field
from nfsnitch.adapters.rulefile.fields import RuleField
from nfsnitch.adapters.rulefile.items import Cut, Item, Items
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.simple_rules import Tables
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.rule_index import Filing
from nfsnitch.core.rule_keys import NAME, KeyFinder, PlacedKeys

MOST_READ = 4_096
"""So many rules are kept as they were read last, and as many texts of fields."""


class Stretch(NamedTuple):
    """Rules that stand in one file."""

    first: int
    """The number of the first one, among all rules."""
    end: int
    """That of the last one, and 1."""
    file: int
    """Which of the files it is, from 0."""
    name: str
    """Of that file, fit to be shown."""
    indent: int
    """How far the dashes are from the margin."""


class Places(NamedTuple):
    """Where all rules begin."""

    starts: bytes
    """For each rule 4 bytes: in which byte of its file (without a byte order mark)."""
    lines: bytes
    """For each rule 4 bytes: on which line, from 1."""
    stretches: tuple[Stretch, ...]


class WrittenRules(Sequence[Rule]):
    """Rules of files, in order."""

    def __init__(
        self,
        places: Places,
        files: Mapping[int, bytes],
        others: Mapping[int, Rule],
        drafts: Drafts,
        on_unknown_name: Action | None,
    ) -> None:
        """Read them by *drafts*, but for *others*, which are kept as they are."""
        self._starts, self._lines = array("I", places.starts), array("I", places.lines)
        self._stretches = places.stretches
        self._firsts = [each.first for each in places.stretches]
        self._files, self._others, self._drafts = files, others, drafts
        self._on_unknown_name = on_unknown_name
        self._read: dict[int, Rule] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> Rule: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Rule, ...]: ...

    def __getitem__(self, at: int | slice) -> Rule | tuple[Rule, ...]:
        """Return one, or several."""
        if isinstance(at, slice):
            return tuple(map(self._rule, range(*at.indices(len(self)))))
        rule = self._read.get(at)
        if rule is None:
            rule = self._rule(range(len(self))[at])
            if len(self._read) >= MOST_READ:
                self._read.pop(next(iter(self._read)))
            self._read[at] = rule
        return rule

    def __iter__(self) -> Iterator[Rule]:
        """Yield all; they are not kept."""
        return map(self._rule, range(len(self)))

    @property
    def parts(self) -> list[object]:
        """All rules and fields that are in memory."""
        return [*self._others.values(), *self._read.values(), *self._drafts.known.values()]

    def _rule(self, number: int) -> Rule:
        other = self._others.get(number)
        if other is not None:
            return other
        stretch = self._stretches[bisect_right(self._firsts, number) - 1]
        whole, following = self._files[stretch.file], number + 1
        end = self._starts[following] if following < stretch.end else len(whole)
        text = whole[self._starts[number] : end].decode()
        draft = self._drafts.read(text.removesuffix("\n").split("\n"), stretch.indent)
        return draft.rule(f"{stretch.name}:{self._lines[number]}", self._on_unknown_name)


def without_mark(content: bytes) -> bytes:
    """Return a file without its byte order mark."""
    return content.removeprefix(BOM_UTF8)


def drafts_of(dependent: Mapping[str, Field]) -> Drafts:
    """Return what reads rules where nothing but the texts of fields is known, and *dependent*."""
    alone = Known(Names(_unasked, _unasked, _unasked, _unasked), {})

    def condition_of(field: RuleField, texts: tuple[str, ...]) -> Condition:
        parsed = [each for text in texts for each in field.parse(text, alone)]
        return field.condition(parsed, False)  # noqa: FBT003

    return Drafts(condition_of, dependent, MOST_READ)


class Writing:
    """Takes rules as they are read, and tells where they are, and what they want."""

    def __init__(self, on_unknown_name: Action | None) -> None:
        """*on_unknown_name* is of the rules that ask for names and say nothing of it."""
        self.on_unknown_name = on_unknown_name
        self.others: dict[int, Rule] = {}
        """Rules that are not read from their texts, by number."""
        self.tables = Tables([[] for _ in range(NAME + 1)], set(), {})
        self._out_of_force: set[int] = set()
        self._finder = KeyFinder()
        self._keys: dict[int, PlacedKeys | None] = {}
        """By the identity of conditions."""
        self._starts, self._lines = array("I"), array("I")
        self._stretches: list[Stretch] = []
        self._first = 0
        """The number of the first rule of the file of the moment."""

    @property
    def places(self) -> Places:
        """Where all rules begin."""
        return Places(self._starts.tobytes(), self._lines.tobytes(), tuple(self._stretches))

    @property
    def filing(self) -> Filing:
        """What an index is made of."""
        count = len(self._starts)
        table = [
            [*column[:count], *repeat(None, count - len(column))] for column in self.tables.columns
        ]
        return Filing(table, self._out_of_force, self.tables.named)

    def begin(self, cut: Cut) -> int:
        """Take all rules of one file; return the number of the first one."""
        items, first = cut.items, len(self._starts)
        end, of = first + cut.count, items.source
        self._first = first
        self._stretches.append(Stretch(first, end, of.order, of.name, items.indent))
        starts, lines = cut.places()
        self._starts.extend(starts)
        self._lines.extend(lines)
        for column in self.tables.columns:
            column.extend(repeat(None, end - len(column)))
        return first

    def add(self, items: Items, item: Item, draft: Draft) -> None:
        """Take one that can be read from its text."""
        del items
        number = self._first + item.number
        for each in draft.fields:
            if each.keys is not None:
                self._file(number, each.keys)
                continue
            condition = each.condition
            known_as = id(condition)
            if known_as not in self._keys:
                self.tables.conditions[known_as] = condition
                self._keys[known_as] = self._finder.key_of(condition)
            keys = self._keys[known_as]
            if keys is not None:
                self._file(number, keys)
                if keys[0] == NAME and self.on_unknown_name is not None:
                    self.tables.named.add(number)

    def add_others(self, items: Items | None, item: Item | None, rules: Iterable[Rule]) -> None:
        """Take others."""
        del items
        for rule in rules:
            number = self._unplaced() if item is None else self._first + item.number
            self.others[number] = rule
            for keys in map(self._finder.key_of, rule.conditions):
                if keys is not None:
                    self._file(number, keys)
            if not rule.enabled:
                self._out_of_force.add(number)
            if rule.on_unknown_name is not None:
                self.tables.named.add(number)

    def _file(self, number: int, keys: PlacedKeys) -> None:
        """Have a rule be found by keys; of two conditions on one thing the first one counts."""
        column = self.tables.columns[keys[0]]
        column.extend(repeat(None, number + 1 - len(column)))
        if column[number] is None:
            column[number] = keys[1]

    def _unplaced(self) -> int:
        """Return the number of another rule, which is not read from its text."""
        self._starts.append(0)
        self._lines.append(0)
        return len(self._starts) - 1


def _unasked(name: str) -> NoReturn:
    raise LookupError(f"{name!r} does not say by itself what it stands for")
