"""The rules of a large file, cut apart without YAML where it is plain what YAML would say.

To take 100,000 rules through a YAML parser takes seconds, and nearly all of them are written in the
same simple way: ``- {name: web, action: allow, dport: [80, 443]}`` on one line, or a line for each
field. So the list below ``rules:`` is cut at its dashes. What is made of words alone (`SCALAR`) is
taken as it stands; any other rule goes through the parser by itself. What stands by itself can be
seen (`_alone`): nothing before it and nothing after it says what it means.

Whatever is the least bit unusual or wrong raises `NotPlainError`, and then the whole file is read
in the ordinary way, which also has the words for what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from nfsnitch.adapters.rulefile.document import Mapping, Node, Scalar, Sequence, parse
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.problems import Problems

_KEY = re.compile(r"^rules:[ ]*(?:[ ]#.*)?$", re.MULTILINE)
_FIRST = re.compile(r"(?:[ ]*(?:#.*)?\n)*([ ]*)- ")
_FURTHER = r"[A-Za-z0-9/._@+=()*~%^-]*"
SCALAR = rf"[A-Za-z0-9/._]{_FURTHER}(?:(?::(?=[A-Za-z0-9/:])|[ ](?=[A-Za-z0-9/._(])){_FURTHER})*"
"""What any YAML parser takes as it stands, in a list as well as on a line of its own."""
_VALUE = re.compile(SCALAR)
_PART = re.compile(rf"([a-z0-9_]+): (?:({SCALAR})|\[({SCALAR}(?:, {SCALAR})*)\])")
_BETWEEN_PARTS = re.compile(r", (?![^\[\]]*\])")
_NEXT = "- next"


class NotPlainError(Exception):
    """The file must be read in the ordinary way."""


class Part(NamedTuple):
    """A key of a rule, and its value or values."""

    key: str
    values: tuple[str, ...]
    is_list: bool


class Item(NamedTuple):
    """A rule as it stands in its file."""

    number: int
    """Among those of `Items`, from 0."""
    line: int
    """From 1."""
    lines: list[str]
    """With the empty lines and comments below it."""


class Items(NamedTuple):
    """The list of rules of one file, not read yet."""

    source: Source
    first_line: int
    """On which the text begins, from 1."""
    text: str
    at: int
    """The byte of the file at which the text begins, without a byte order mark."""
    indent: int
    """How far the dashes are from the margin."""

    def cut(self) -> Cut:
        """Return the rules apart.

        Raises:
            NotPlainError: they cannot be told apart.

        """
        lines = self.text.split("\n")
        dash = f"{' ' * self.indent}- "
        starts = [at for at, line in enumerate(lines) if line.startswith(dash)]
        if not starts or not all(map(_says_nothing, lines[: starts[0]])):
            raise NotPlainError
        return Cut(self, lines, [*starts, len(lines)])

    def node_of(self, item: Item) -> Mapping:
        """Return what YAML makes of one rule.

        Raises:
            NotPlainError: it does not stand by itself.

        """
        problems = Problems()
        text = "\n".join([*item.lines, f"{' ' * self.indent}{_NEXT}"])
        lines_before = self.source.lines_before + item.line - 1
        root = parse(replace(self.source, text=text, lines_before=lines_before), problems)
        if problems.count or not _alone(root, item.line, item.line + len(item.lines)):
            raise NotPlainError
        return root.items[0]  # type: ignore[union-attr,return-value]


class Cut:
    """The rules of one file, cut apart."""

    def __init__(self, items: Items, lines: list[str], starts: list[int]) -> None:
        """Cut the *lines* of *items* at *starts*, of which the last one is after all lines."""
        self.items = items
        self.count = len(starts) - 1
        self._lines, self._starts = lines, starts

    def item(self, number: int) -> Item:
        """Return one rule, by its number from 0."""
        start, end = self._starts[number : number + 2]
        return Item(number, self.items.first_line + start, self._lines[start:end])

    def places(self) -> tuple[list[int], list[int]]:
        """Return in which byte of its file each rule begins, and on which line, from 1."""
        items, starts = self.items, self._starts[:-1]
        sizes = map(len if items.text.isascii() else _bytes, self._lines)
        before = list(accumulate(sizes, initial=items.at))  # but for the ends of lines
        return [before[at] + at for at in starts], [items.first_line + at for at in starts]

    def texts(self) -> Iterator[list[str] | None]:
        """Yield what `parts_of` returns of each rule."""
        indent, lines = self.items.indent, self._lines
        opening = f"{' ' * indent}- {{"
        inside = len(opening)
        for start, end in pairwise(self._starts):
            line = lines[start]
            if end - start == 1 and line.startswith(opening) and "[" not in line:
                # as most are
                yield line[inside:-1].split(", ") if line[-1] == "}" else None
            else:
                yield parts_of(lines[start:end], indent)


def parts_of(lines: list[str], indent: int) -> list[str] | None:
    """Return the texts of which `part` tells what they say; None: YAML has to say what it is.

    *indent* says how far the dash of the rule is from the margin.
    """
    inside = indent + 2
    body = lines[0][inside:]
    if body[:1] == "{":
        if body[-1] != "}" or (len(lines) > 1 and not all(map(_says_nothing, lines[1:]))):
            return None
        body = body[1:-1]
        return _BETWEEN_PARTS.split(body) if "[" in body else body.split(", ")
    parts = [body]
    for line in lines[1:]:
        if not _says_nothing(line):
            if not line[:inside].isspace():
                return None
            parts.append(line[inside:])
    return parts


def is_plain(value: str) -> bool:
    """Whether a value is taken as it stands, by any YAML parser."""
    return _VALUE.fullmatch(value) is not None


def part(text: str) -> Part | None:
    """Return what a text of `Items.parts_of` says; None: that is not plain."""
    match = _PART.fullmatch(text)
    if match is None:
        return None
    key, value, values = match.groups()
    return Part(key, (value,), is_list=False) if values is None else _list(key, values)


def _list(key: str, values: str) -> Part:
    return Part(key, tuple(values.split(", ")), is_list=True)


def head_and_items(source: Source, problems: Problems) -> tuple[Node | None, Items | None]:
    """Return the root of a file without its rules, and these apart; None: there are none apart.

    Raises:
        NotPlainError: something is wrong above the rules.

    """
    match = _KEY.search(source.text)
    below = None if match is None else _FIRST.match(source.text, match.end() + 1)
    if match is None or below is None or "\r" in source.text:
        return parse(source, problems), None
    before = problems.count
    root = parse(replace(source, text=source.text[: match.end()]), problems)
    line = source.text.count("\n", 0, match.start()) + 1
    if problems.count > before or not isinstance(root, Mapping) or not root.pairs:
        raise NotPlainError
    key, value = root.pairs[-1]
    if key.text != "rules" or key.position.line != line or not _is_empty(value):
        raise NotPlainError
    text, at = source.text[match.end() + 1 :], len(source.text[: match.end() + 1].encode())
    items = Items(source, line + 1, text, at, len(below[1]))
    return replace(root, pairs=root.pairs[:-1]), items


def _bytes(text: str) -> int:
    return len(text.encode())


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and not node.text


def _says_nothing(line: str) -> bool:
    """Whether a line is empty or a comment."""
    text = line.lstrip(" ")
    return not text or text[0] == "#"


def _alone(root: Node | None, first: int, following: int) -> bool:
    """Whether the root has two items that begin on these lines, and the first is a mapping."""
    if not isinstance(root, Sequence) or len(root.items) != 2:  # noqa: PLR2004
        return False
    one, other = root.items
    places = one.position.line, other.position.line
    return isinstance(one, Mapping) and isinstance(other, Scalar) and places == (first, following)
