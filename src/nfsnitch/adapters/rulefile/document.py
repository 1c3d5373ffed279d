"""YAML documents as trees of nodes, each with its place.

The tree is built from the parser's events, not by `yaml.compose`: the C loader's own composer calls
itself for each level, and a file of 200,000 opening brackets crashes the interpreter. Scalars are
kept as they are written: what YAML 1.1 makes of ``no``, ``22:22`` or ``0x10`` never happens.

A node counts the nodes below it with its aliases followed, so that an alias bomb is found where it
is built, before anybody walks through it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.problems import Position, Problems, quoted
from nfsnitch.core.text import shown

MAX_NODES = 2_000_000
"""Of one file, aliases followed."""
MAX_DEPTH = 32
"""A rule file needs 6."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_END = re.compile(r"\r?\n")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HIDDEN_IN_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTE = (
    "put text that begins with one of * & ! % @ ` : [ { or has ': ' or ' #' in it between quotes"
)


@dataclass(slots=True)
class Scalar:
    """A value, as it is written."""

    position: Position
    text: str
    size: ClassVar[int] = 1
    depth: ClassVar[int] = 0


@dataclass(slots=True)
class Sequence:
    """A list of nodes."""

    position: Position
    items: tuple[Node, ...]
    size: int
    depth: int


@dataclass(slots=True)
class Mapping:
    """Keys, no two of the same text, with their nodes."""

    position: Position
    pairs: tuple[tuple[Scalar, Node], ...]
    size: int
    depth: int


Node = Scalar | Sequence | Mapping


def kind(node: Node) -> str:
    """Return what the node is, for messages."""
    if isinstance(node, Scalar):
        return "a single value"
    return "a list" if isinstance(node, Sequence) else "a mapping"


@dataclass(frozen=True, slots=True)
class Form:
    """What a file is, and what its values may be; for messages but the last."""

    name: str = "a rule file"
    content: str = "rules"
    example: str = "rules: []"
    says: str = "what a rule says"
    has_lines: bool = False
    """Values may be texts of several lines."""


_RULES = Form()


def parse(source: Source, problems: Problems, form: Form = _RULES) -> Node | None:
    """Return the root of the document in *source*; None where problems keep it from having one."""
    try:
        return _Composer(source, problems, form).document()
    except _Stop as stop:
        problems.add(*stop.args)
    except yaml.MarkedYAMLError as error:
        _note_syntax_error(error, source, problems)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of an escape like \UFFFFFFFF
        problems.add(source.position(1, 1), "this is not YAML", quoted(str(error)), _QUOTE)
    return None


class _Stop(Exception):  # noqa: N818
    """The file cannot be read further. Arguments: those of `Problems.add`."""


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    position: Position
    is_mapping: bool
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


class _Composer:
    """Builds the tree of one source's only document."""

    def __init__(self, source: Source, problems: Problems, form: Form) -> None:
        self._source = source
        self._form = form
        self._hidden = _HIDDEN_IN_LINES if form.has_lines else _HIDDEN
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        """None: of a node that is open still."""

    def document(self) -> Node | None:
        root: Node | None = None
        for event in _events(self._source.text):
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                why = f"{self._form.name} has one"
                raise _Stop(self._at(event), "another document", why, "remove the line ---")
            node = self._node(event)
            if node is not None and not self._open:
                root = node
        if root is None:
            why = "an empty file may be a lost one"
            instead = f"write at least: {self._form.example}"
            raise _Stop(self._source.position(1, 1), f"no {self._form.content}", why, instead)
        return root

    def _node(self, event: yaml.Event) -> Node | None:
        """Return the node that *event* completes."""
        node: Node | None = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            node = self._alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self._end()
        if node is not None and self._open:
            self._append(node)
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        position = self._at(event)
        self._note_tag(event)
        text: str = event.value
        if (hidden := self._hidden.search(text)) is not None:
            what = f"character U+{ord(hidden[0]):04X} in a value"
            on_one_line = "" if self._form.has_lines else ", on one line"
            why = f"{self._form.says} must be seen{on_one_line}"
            self._problems.add(position, what, why, "write the value without it")
        scalar = Scalar(position, text)
        if event.anchor is not None:
            self._anchors[event.anchor] = scalar
        return scalar

    def _alias(self, event: yaml.AliasEvent) -> Node:
        name = quoted(f"*{event.anchor}")
        if event.anchor not in self._anchors:
            raise _Stop(self._at(event), f"alias {name}", "there is no such anchor", _QUOTE)
        node = self._anchors[event.anchor]
        if node is None:
            why = "it is inside what it stands for"
            raise _Stop(self._at(event), f"alias {name}", why, "write out what is meant")
        return node

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        position = self._at(event)
        self._note_tag(event)
        if len(self._open) >= MAX_DEPTH:
            raise _Stop(position, "too deep", f"{MAX_DEPTH} levels are the limit", "nest less")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Open(position, is_mapping, event.anchor))
        if event.anchor is not None:
            self._anchors[event.anchor] = None

    def _end(self) -> Node:
        done = self._open.pop()
        node: Node
        if done.is_mapping:
            node = Mapping(done.position, tuple(self._pairs(done.nodes)), done.size, done.depth)
        else:
            node = Sequence(done.position, tuple(done.nodes), done.size, done.depth)
        if done.anchor is not None:
            self._anchors[done.anchor] = node
        return node

    def _append(self, node: Node) -> None:
        parent = self._open[-1]
        parent.nodes.append(node)
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth + 1)
        if parent.size > MAX_NODES:
            why = f"with aliases followed it has more than {MAX_NODES} values"
            raise _Stop(parent.position, "too large", why, "split the file")
        if len(self._open) + node.depth > MAX_DEPTH:
            why = f"with aliases followed it has more than {MAX_DEPTH} levels"
            raise _Stop(parent.position, "too deep", why, "nest less")

    def _pairs(self, nodes: list[Node]) -> Iterator[tuple[Scalar, Node]]:
        first: dict[str, Scalar] = {}
        for key, node in zip(nodes[::2], nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                why = "a key is the name of a field"
                self._problems.add(key.position, f"{kind(key)} as a key", why, "write a name")
            elif key.text in first:
                why = f"it stands on line {first[key.text].position.line} already"
                instead = "write it once, with a list where several values are meant"
                self._problems.add(key.position, f"key {quoted(key.text)} again", why, instead)
            else:
                first[key.text] = key
                yield key, node

    def _note_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in {None, "!"}:
            why = "types follow from the field, not from a tag"
            self._problems.add(self._at(event), f"tag {quoted(event.tag)}", why, "remove it")

    def _at(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        if not column and mark is not None and mark.index >= len(self._source.text):
            line, column = _within(_LINE_END.split(self._source.text), line, column)
        return self._source.position(line + 1, column + 1)


def _events(text: str) -> Iterator[yaml.Event]:
    loader = _LOADER(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


def _within(lines: list[str], line: int, column: int) -> tuple[int, int]:
    """Return a place among *lines*: libyaml sees a line end at the end of any text."""
    return (line, column) if line < len(lines) else (len(lines) - 1, len(lines[-1]))


def _note_syntax_error(error: yaml.MarkedYAMLError, source: Source, problems: Problems) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    lines = _LINE_END.split(source.text)
    line, column = _within(lines, line, column)
    text = lines[line]
    indentation = text[: len(text) - len(text.lstrip())]
    if text[column : column + 1] == "\t" or "\t" in indentation:
        at = source.position(line + 1, text.index("\t") + 1)
        problems.add(at, "a tab", "YAML does not indent by tabs", "write spaces")
        return
    said = shown(", ".join(part for part in (error.context, error.problem) if part))
    at = source.position(line + 1, column + 1)
    problems.add(at, "this is not YAML", said or "no more is known", _hint(error))


def _hint(error: yaml.MarkedYAMLError) -> str:
    if "block" in (error.context or ""):
        return f"indent alike what belongs together, and {_QUOTE}"
    return _QUOTE
