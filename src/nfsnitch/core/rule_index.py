"""Finds among many rules the few that may have something to say of a flow.

Rules are told apart by what `core.rule_keys` knows of them, by one thing after the other: what
leaves the fewest of them comes first, as the program or the destination. Each `Split` has the
rules that want a certain value filed under it, and those that take any value apart. So a flow leads
to a few leaves, and what stands in them is tried in the order of the rules. What is not in them
would not have done anything, so the first of those that decides is the first of all.

Nothing here knows when a rule decides: the walk through those that are left is `core.ruleset`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from heapq import merge
from itertools import chain
from typing import Any, NamedTuple

from nfsnitch.core.blocks import Block, Blocks
from nfsnitch.core.case import Case
from nfsnitch.core.name import Names
from nfsnitch.core.rule import Rule
from nfsnitch.core.rule_keys import (
    NAME,
    READERS,
    Key,
    Keys,
    keys_of_all,
    keys_of_name,
)

_FEW = 4
"""So many are tried rather than told apart further."""
_COPIES_OF_EACH, _MORE_COPIES = 8, 4_096
"""So often all rules together may be filed; beyond that the widest ones count as taking any value.
"""
_FEW_FOUND = 64
"""Leaves of so many rules are put together at once."""
_SAMPLE = 1_024
"""Of so many rules it is looked what tells them apart."""


class Split:
    """Rules told apart by one value of the flow."""

    __slots__ = ("_blocks", "_rest", "_singles", "read")

    def __init__(
        self, at: int, singles: dict[Key, _Node], blocks: Blocks[_Node] | None, rest: _Node | None
    ) -> None:
        """*at* says which of `READERS` finds the value; *rest* are the rules that take any.

        *singles* stand under one value each.
        """
        self.read = READERS[at]
        self._singles, self._blocks, self._rest = singles, blocks, rest

    @property
    def singles(self) -> dict[Key, _Node]:
        """What stands under each value alone; nobody changes it."""
        return self._singles

    @property
    def tables(self) -> list[tuple[int, int, dict[int, _Node]]]:
        """What stands under blocks: see `Blocks.tables`."""
        return [] if self._blocks is None else [*self._blocks.tables]

    @property
    def nodes(self) -> list[_Node]:
        """All that stand under a value or a block."""
        tables = (table.values() for _, _, table in self.tables)
        return [*chain(self._singles.values(), *tables)]

    @property
    def last(self) -> tuple[int, _Node | None]:
        """What else it was made of."""
        return READERS.index(self.read), self._rest

    def add_to(self, nodes: list[_Node], value: Any) -> None:  # noqa: ANN401
        """Add what is to be looked at where a flow has this value (or an Unknown, of no rule)."""
        node = self._singles.get(value)
        if node is not None:
            nodes.append(node)
        if self._blocks is not None:
            nodes += self._blocks.around(value)
        if self._rest is not None:
            nodes.append(self._rest)


class NameSplit:
    """Rules told apart by the name of the host."""

    __slots__ = ("_named", "_nameless", "_rest", "_waiting")

    def __init__(
        self, named: dict[Key, _Few], nameless: _Leaf, waiting: _Leaf, rest: _Few | None
    ) -> None:
        """Take the rules by the names that they want.

        *waiting* are all of them, and *nameless* those that do something where there is no name;
        *rest* are those that do not ask for names in a way that can be looked up.
        """
        self._named, self._nameless, self._waiting, self._rest = named, nameless, waiting, rest

    @property
    def singles(self) -> dict[Key, _Few]:
        """What stands under each name; nobody changes it."""
        return self._named

    @property
    def nodes(self) -> list[_Few]:
        """All that stand under a name."""
        return [*self._named.values()]

    @property
    def last(self) -> tuple[_Leaf, _Leaf, _Few | None]:
        """What else it was made of."""
        return self._nameless, self._waiting, self._rest

    def add_to(self, nodes: list[_Node], names: Names) -> None:
        """Add what is to be looked at where a flow has these names."""
        if self._rest is not None:
            nodes.append(self._rest)
        if not names.names:
            nodes.append(self._waiting if names.may_come else self._nameless)
            return
        # A rule that wants several names may be filed under more than one of these.
        numbers: set[int] = set()
        for key in {key for name in names.names for key in keys_of_name(name.text)}:
            few = self._named.get(key)
            if few is not None:
                numbers.update((few,) if isinstance(few, int) else few)
        nodes.append(tuple(sorted(numbers)))


_Leaf = tuple[int, ...]
_Few = int | _Leaf
_Node = _Few | Split | NameSplit
Node = _Node
"""One rule's number, several in ascending order, or more to be told apart."""


class RuleIndex:
    """Some rules, by what they want. Nobody changes it."""

    __slots__ = ("_root", "_rules")

    def __init__(self, rules: Sequence[Rule], without: Collection[int] = ()) -> None:
        """File *rules*; by what is among *without* (places in `READERS`), they are not told apart.

        That takes some microseconds for each of them.
        """
        self._rules = rules
        self._root = Filing.of(rules).root(without)

    @classmethod
    def of_root(cls, rules: Sequence[Rule], root: Node) -> RuleIndex:
        """Return the index of *rules* whose root is known (`Filing.root`)."""
        index = cls.__new__(cls)
        index._rules, index._root = rules, root  # noqa: SLF001
        return index

    @property
    def root(self) -> Node:
        """Its uppermost node."""
        return self._root

    def candidates(self, case: Case) -> Iterable[Rule]:
        """Return in their order the rules that may do something in this case.

        Those that are left out would have been passed by; some of the others will be, too.
        """
        found: list[int] = []
        many: list[_Leaf] = []
        nodes = [self._root]
        for node in nodes:  # which grows meanwhile
            if type(node) is int:
                found.append(node)
            elif type(node) is Split:
                node.add_to(nodes, node.read(case))
            elif type(node) is NameSplit:
                node.add_to(nodes, case.names)
            elif type(node) is tuple:
                if len(node) <= _FEW_FOUND:
                    found += node
                else:
                    many.append(node)
        found.sort()
        rules = self._rules
        if many:  # and the first one may decide: most are never looked at
            return map(rules.__getitem__, merge(found, *many))
        return [rules[number] for number in found]


class Filing(NamedTuple):
    """What has to be known of rules to tell them apart."""

    table: list[list[Keys]]
    """See `keys_of_all`."""
    out_of_force: Collection[int]
    """Rules that never do anything."""
    at_unknown_names: Collection[int]
    """Rules that do something where there is no name."""

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Filing:
        """Return it for *rules*."""
        return cls(
            keys_of_all(rules),
            {at for at, rule in enumerate(rules) if not rule.enabled},
            {at for at, rule in enumerate(rules) if rule.on_unknown_name is not None},
        )

    def tells_apart_by(self, places: Collection[int]) -> bool:
        """Whether any rule wants something that is looked up at one of *places*."""
        return any(_says_something(self.table[at]) for at in places)

    def root(self, without: Collection[int] = ()) -> Node:
        """Return the root of an index; by what is among *without*, rules are not told apart."""
        return _Builder(self, without).built()


class _Builder:
    """Tells rules apart, from the root to the leaves."""

    def __init__(self, filing: Filing, without: Collection[int]) -> None:
        self._filing = filing
        self._table = filing.table
        self._without = without
        self._count = len(self._table[0])
        self._copies_left = _COPIES_OF_EACH * self._count + _MORE_COPIES
        self._known: dict[tuple[frozenset[int], _Leaf], _Node] = {}
        """By what is still to be told apart, and what it is among."""

    def built(self) -> _Node:
        """Return the root."""
        out_of_force = self._filing.out_of_force
        in_force = [at for at in range(self._count) if at not in out_of_force]
        places = (
            at
            for at, keys in enumerate(self._table)
            if at not in self._without and _says_something(keys)
        )
        return self._node(in_force, frozenset(places))

    def _node(self, numbers: list[int], places: frozenset[int]) -> _Node:
        """Return the node of these rules, which may be told apart by what is in *places* still."""
        if len(numbers) > _FEW:
            at = self._best(numbers, places)
            if at is not None:
                return self._split(at, numbers, places - {at})
        return _few(numbers)

    def _best(self, numbers: list[int], places: frozenset[int]) -> int | None:
        """Return what tells these rules apart best; None: nothing does. Names come last."""
        some = numbers[:: len(numbers) // _SAMPLE + 1]
        left = {at: self._left(some, at) for at in places}
        told = [at for at in sorted(places) if left[at] < len(some)]
        return min(told, key=lambda at: (at == NAME, left[at]), default=None)

    def _left(self, numbers: list[int], at: int) -> float:
        """Return how many of these are left on the average where a flow has what one of them wants.

        Of a rule that wants several values the first one stands for all.
        """
        keys = self._table[at]
        told = [key for number in numbers if (key := keys[number]) is not None]
        values = {key if type(key) is not list else key[0] if key else None for key in told}
        return len(numbers) - len(told) + (len(told) / len(values) if values else 0)

    def _split(self, at: int, numbers: list[int], places: frozenset[int]) -> _Node:
        filed, rest = self._filed(numbers, at)
        if at == NAME:
            return self._split_by_name(numbers, filed, rest)
        nodes = {
            key: each if isinstance(each, int) else self._shared(each, places)
            for key, each in filed.items()
        }
        last = self._node(rest, places) if rest else None
        blocks = {key: node for key, node in nodes.items() if type(key) is Block}
        if not blocks:
            return Split(at, nodes, None, last)
        singles = {key: nodes[key] for key in nodes.keys() - blocks.keys()}
        return Split(at, singles, Blocks(blocks), last)

    def _split_by_name(
        self, numbers: list[int], filed: dict[Key, int | list[int]], rest: list[int]
    ) -> NameSplit:
        others = set(rest)
        waiting = tuple(number for number in numbers if number not in others)
        says = tuple(at for at in waiting if at in self._filing.at_unknown_names)
        named = {key: _few(each) for key, each in filed.items()}
        return NameSplit(named, says, waiting, _few(rest) if rest else None)

    def _shared(self, numbers: list[int], places: frozenset[int]) -> _Node:
        """Return the node of these rules, which may be filed under several values together."""
        if len(numbers) <= _FEW:
            return _few(numbers)
        known_as = places, tuple(numbers)
        node = self._known.get(known_as)
        if node is None:
            node = self._known[known_as] = self._node(numbers, places)
        return node

    def _filed(self, numbers: list[int], at: int) -> tuple[dict[Key, int | list[int]], list[int]]:
        """Return these rules by their keys, and apart those that take any value."""
        keys = self._table[at]
        filed: dict[Key, int | list[int]] = {}
        rest: list[int] = []
        for number in numbers:
            key = keys[number]
            if key is None:
                rest.append(number)
            elif not isinstance(key, list):
                _file(filed, key, number)
            elif len(key) - 1 > self._copies_left:
                rest.append(number)
            else:
                self._copies_left -= len(key) - 1
                for each in key:
                    _file(filed, each, number)
        return filed, rest


def _says_something(keys: list[Keys]) -> bool:
    return keys.count(None) < len(keys)


def _file(filed: dict[Key, int | list[int]], key: Key, number: int) -> None:
    others = filed.get(key)
    if others is None:
        filed[key] = number
    elif isinstance(others, int):
        filed[key] = [others, number]
    else:
        others.append(number)


def _few(numbers: int | list[int]) -> _Few:
    if isinstance(numbers, int):
        return numbers
    return numbers[0] if len(numbers) == 1 else tuple(numbers)
