"""Nodes of a scenario file: each is taken as what it is to be, or a problem is noted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, Sequence, kind
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, listed, quoted

T = TypeVar("T")
D = TypeVar("D")

MOST_ITEMS = 10_000
"""Of a list: more steps, packets or arguments are a mistake."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Takes nodes apart; what is wrong with them goes to `problems`."""

    problems: Problems

    def fields(
        self, node: Node, what: str, known: Collection[str], required: Iterable[str] = ()
    ) -> dict[str, Node] | None:
        """Return the nodes under the keys of a mapping that are *known*; None if it is none."""
        pairs = self.pairs(node, what, f"write a mapping with {listed(known)}")
        if pairs is None:
            return None
        for key in pairs:
            if key.text not in known:
                why = f"{what} has {listed(known)}"
                instead = closest(key.text, known, "remove it")
                self.problems.add(key.position, f"unknown key {quoted(key.text)}", why, instead)
        found = {key.text: value for key, value in pairs.items() if key.text in known}
        for missing in required:
            if missing not in found:
                instead = f"write {missing}: and its value"
                self.problems.add(node.position, what, f"it has no {missing}", instead)
        return found

    def pairs(self, node: Node, what: str, instead: str) -> dict[_Key, Node] | None:
        """Return keys and values of a mapping; None if it is none."""
        if not isinstance(node, MappingNode):
            why = f"it is a mapping, not {kind(node)}"
            self.problems.add(node.position, what, why, instead)
            return None
        return {_Key(key): value for key, value in node.pairs}

    def named(
        self, node: Node, what: str, parse: Callable[[str], str], example: str
    ) -> dict[str, Node]:
        """Return the values of a mapping under names that *parse* takes; the others are noted."""
        found = {}
        for key, value in (self.pairs(node, what, f"write as in {example}") or {}).items():
            name = self.parsed(key.scalar, f"{what} {quoted(key.text)}", parse, None)
            if name is not None:
                found[name] = value
        return found

    def value(self, node: Node | None, what: str, parse: Callable[[str], T], otherwise: D) -> T | D:
        """Return what the text of a single value stands for, or *otherwise*."""
        if node is None:
            return otherwise
        if not isinstance(node, Scalar):
            why = f"it is a single value, not {kind(node)}"
            self.problems.add(node.position, what, why, "write one value")
            return otherwise
        return self.parsed(node, f"{what} {quoted(node.text)}", parse, otherwise)

    def parsed(self, node: Scalar, what: str, parse: Callable[[str], T], otherwise: D) -> T | D:
        """Return what *parse* makes of a text, or *otherwise*."""
        try:
            return parse(node.text)
        except Refused as refused:
            self.problems.refuse(node.position, what, refused)
            return otherwise

    def items(self, node: Node | None, what: str) -> tuple[Node, ...]:
        """Return the nodes of a list; none if there is no list."""
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            why = f"it is a list, not {kind(node)}"
            self.problems.add(node.position, what, why, "write - before each of its items")
            return ()
        if len(node.items) > MOST_ITEMS:
            why = f"it has more than {MOST_ITEMS} items"
            self.problems.add(node.position, what, why, "write fewer")
            return ()
        return node.items

    def values(self, node: Node | None, what: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """Return what the texts of a list stand for, without those that were refused."""
        taken = []
        for each in self.items(node, what):
            value = self.value(each, what, parse, _NOTHING)
            if not isinstance(value, _Nothing):
                taken.append(value)
        return tuple(taken)

    def refuse(self, node: Node, what: str, refused: Refused) -> None:
        """Note that what stands there was refused."""
        self.problems.refuse(node.position, what, refused)


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """A key of a mapping, with its place; the mapping has no two of one text."""

    scalar: Scalar

    @property
    def text(self) -> str:
        return self.scalar.text

    @property
    def position(self) -> Position:
        return self.scalar.position


class _Nothing:
    """In the place of a value that was refused."""


_NOTHING = _Nothing()


def plain(node: Node) -> Any:  # noqa: ANN401  it is a value of YAML
    """Return the node as texts, lists and mappings without their places."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(each) for each in node.items]
    return {key.text: plain(value) for key, value in node.pairs}


def texts(value: Any) -> Iterable[str]:  # noqa: ANN401  it is a value of YAML
    """Yield all texts in lists and the values of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    else:
        for each in value:
            yield from texts(each)
