"""Indexes of rules in small parts, as another process can make them while this one decides packets.

Each part is made of plain tuples, lists, numbers, texts and bytes, and takes well under a
millisecond to be put together with those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from nfsnitch.core.blocks import Block
from nfsnitch.core.rule_index import NameSplit, Node, Split

_ENTRIES = 500
_FILED, _SPLIT, _NAME_SPLIT, _ROOT = range(4)

Part = tuple[Any, ...]


def parts_of(root: Node) -> Iterator[Part]:
    """Take an index apart, the leaves first.

    Where a node is part of another one, it stands as a negative number: -1 is the first split.
    """
    numbers: dict[int, int] = {}
    pending: list[Node] = [root]
    while pending:
        node = pending[-1]
        if not isinstance(node, Split | NameSplit) or id(node) in numbers:
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
        self._filed: dict[Any, Any] = {}
        self.root: Node | None = None
        """None until the last part has come."""

    def add(self, part: Part) -> None:
        """Take the next part."""
        kind, *content = part
        if kind == _FILED:
            keys, nodes = content
            for key, node in zip(keys, nodes, strict=True):
                filed = Block(*key) if type(key) is tuple else key
                self._filed[filed] = self._found(node)
            return
        if kind == _SPLIT:
            at, rest = content
            self._splits.append(Split(at, self._filed, None if rest is None else self._found(rest)))
        elif kind == _NAME_SPLIT:
            self._splits.append(NameSplit(self._filed, *content))
        else:
            self.root = self._found(content[0])
        self._filed = {}

    def _found(self, node: int | tuple[int, ...]) -> Node:
        return self._splits[-1 - node] if type(node) is int and node < 0 else node


def splits_of(root: Node) -> list[Node]:
    """Return all nodes of an index that have others, the upper ones first."""
    found: list[Node] = []
    seen: set[int] = set()
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Split | NameSplit) and id(node) not in seen:
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
        elif isinstance(node, Split | NameSplit) and id(node) not in seen:
            seen.add(id(node))
            pending += (each for _, each in node.filed)
            pending += (each for each in node.last if not isinstance(each, int))
    return found


def _splits_in(node: Split | NameSplit) -> Iterator[Split | NameSplit]:
    if isinstance(node, Split):
        nodes = [each for _, each in node.filed]
        rest = node.last[1]
        yield from (each for each in (*nodes, rest) if isinstance(each, Split | NameSplit))


def _parts_of_split(node: Split | NameSplit, numbers: dict[int, int]) -> Iterator[Part]:
    filed = iter(node.filed)
    while some := list(islice(filed, _ENTRIES)):
        keys = [tuple(key) if isinstance(key, Block) else key for key, _ in some]
        yield _FILED, keys, [_referred(each, numbers) for _, each in some]
    if isinstance(node, Split):
        at, rest = node.last
        yield _SPLIT, at, None if rest is None else _referred(rest, numbers)
    else:
        yield _NAME_SPLIT, *node.last


def _referred(node: Node, numbers: dict[int, int]) -> int | tuple[int, ...]:
    return numbers[id(node)] if isinstance(node, Split | NameSplit) else node
