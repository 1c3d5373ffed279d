"""Indexes of rules in small parts, as another process can make them while this one decides packets.

Each part is made of plain tuples, lists, numbers, texts and bytes, and takes well under a
millisecond to be put together with those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from nfsnitch.core.blocks import Blocks
from nfsnitch.core.rule_index import NameSplit, Node, Split

_ENTRIES = 500
_FILED, _BLOCKS, _SPLIT, _NAME_SPLIT, _ROOT = range(5)
_SPLITS = (Split, NameSplit)

Part = tuple[Any, ...]


def parts_of(root: Node) -> Iterator[Part]:
    """Take an index apart, the leaves first.

    Where a node is part of another one, it stands as a negative number: -1 is the first split.
    """
    numbers: dict[int, int] = {}
    pending: list[Node] = [root]
    while pending:
        node = pending[-1]
        if not isinstance(node, _SPLITS) or id(node) in numbers:
            pending.pop()
            continue
        unknown = [each for each in _splits_in(node) if id(each) not in numbers]
        if unknown:
            pending += unknown
            continue
        yield from _parts_of_split(node, numbers)
        numbers[id(node)] = -1 - len(numbers)
        pending.pop()
    yield _ROOT, _referred(root, numbers)


class Assembling:
    """An index that is put together again, part after part."""

    def __init__(self) -> None:
        self._splits: list[Node] = []
        self._singles: dict[Any, Any] = {}
        self._tables: dict[tuple[int, int], dict[int, Node]] = {}
        self.root: Node | None = None
        """None until the last part has come."""

    def add(self, part: Part) -> None:
        """Take the next part."""
        kind, *content = part
        if kind == _FILED:
            self._file(self._singles, *content)
            return
        if kind == _BLOCKS:
            length, free_bits, *content = content
            self._file(self._tables.setdefault((length, free_bits), {}), *content)
            return
        if kind == _SPLIT:
            at, rest = content
            tables = [(*key, table) for key, table in self._tables.items()]
            blocks = Blocks.of_tables(tables) if tables else None
            last = None if rest is None else self._found(rest)
            self._splits.append(Split(at, self._singles, blocks, last))
        elif kind == _NAME_SPLIT:
            self._splits.append(NameSplit(self._singles, *content))
        else:
            self.root = self._found(content[0])
        self._singles, self._tables = {}, {}

    def _file(
        self,
        filed: dict[Any, Node],
        has_splits: bool,  # noqa: FBT001  of a part
        keys: list[Any],
        nodes: list[int | tuple[int, ...]],
    ) -> None:
        # Most have none, and none of their nodes need be looked at.
        found = map(self._found, nodes) if has_splits else nodes
        filed.update(zip(keys, found, strict=True))

    def _found(self, node: int | tuple[int, ...]) -> Node:
        return self._splits[-1 - node] if type(node) is int and node < 0 else node


def splits_of(root: Node) -> list[Node]:
    """Return all nodes of an index that have others, the upper ones first."""
    found: list[Node] = []
    seen: set[int] = set()
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, _SPLITS) and id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            pending += _splits_in(node)
    return found


def many_in_leaves(root: Node, more_than: int) -> set[int]:
    """Return the rules of all leaves that have *more_than* so many."""
    found: set[int] = set()
    seen: set[int] = set()
    pending: list[Node | None] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, tuple) and len(node) > more_than:
            found.update(node)
        elif isinstance(node, _SPLITS) and id(node) not in seen:
            seen.add(id(node))
            pending += [each for each in (*node.nodes, *node.last) if type(each) is not int]
    return found


def _splits_in(node: Split | NameSplit) -> list[Split | NameSplit]:
    if isinstance(node, NameSplit):
        return []
    return [each for each in (*node.nodes, node.last[1]) if isinstance(each, _SPLITS)]


def _parts_of_split(node: Split | NameSplit, numbers: dict[int, int]) -> Iterator[Part]:
    for some in _pieces(node.singles, numbers):
        yield _FILED, *some
    if isinstance(node, NameSplit):
        yield _NAME_SPLIT, *node.last
        return
    for length, free_bits, table in node.tables:
        for some in _pieces(table, numbers):
            yield _BLOCKS, length, free_bits, *some
    at, rest = node.last
    yield _SPLIT, at, None if rest is None else _referred(rest, numbers)


def _pieces(filed: Mapping[Any, Node], numbers: dict[int, int]) -> Iterator[Part]:
    """Yield a few at a time: whether there are splits among the nodes, the keys, and the nodes."""
    keys, nodes = iter(filed), iter(filed.values())
    while some := list(islice(keys, _ENTRIES)):
        of_these = list(islice(nodes, _ENTRIES))
        has_splits = not set(map(type, of_these)).isdisjoint(_SPLITS)
        if has_splits:
            yield True, some, [_referred(each, numbers) for each in of_these]
        else:
            yield False, some, of_these


def _referred(node: Node, numbers: dict[int, int]) -> int | tuple[int, ...]:
    return numbers[id(node)] if isinstance(node, _SPLITS) else node
