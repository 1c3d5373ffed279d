"""The text of a file of answers: rules that come and go one by one, while the rest stays as it is.

A person may write into the file, too. So it is not written anew from what was understood of it: it
is cut into blocks of lines, one for each rule with the comments above it, and a change adds, takes
away or moves blocks.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from nfsnitch.adapters.rulefile.document import Mapping, parse
from nfsnitch.adapters.rulefile.document import Sequence as SequenceNode
from nfsnitch.adapters.rulefile.files import Source, note_unprintable
from nfsnitch.adapters.rulefile.loader import load_answers
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Position, Problem, Problems, RuleFileError
from nfsnitch.core.rule import Rule

EMPTY = """\
# Rules that answers to questions have made. They hold where the rule files say "ask".
# nfsnitch adds, changes and removes single rules here; what you write yourself stays.
version: 1
rules: []
"""
_DASH = "- "
_KEY = re.compile(r"""["']?rules["']?\s*:""")
_NO_RULES = re.compile(rf"({_KEY.pattern})\s*\[\s*\](?=\s|$)")
_FAR_REACHING = re.compile("""[&*'"]""")
"""Marks of what need not end with its line, or stands for something elsewhere."""


class Block(NamedTuple):
    """One rule, with the lines it is made of."""

    rule: Rule
    lines: tuple[str, ...]
    """As they stand in the file, without line ends; the comments above the rule first."""
    comments: int
    """How many of the lines are these."""
    below: int = 0
    """How many stand below the rule: empty ones, and comments that are no rule's."""

    @property
    def text(self) -> str:
        """The rule alone, as somebody would edit it: without the dash of the list."""
        first, *rest = self.lines[self.comments : len(self.lines) - self.below]
        return textwrap.dedent("\n".join([first.replace("-", " ", 1), *rest])).strip("\n") + "\n"

    @property
    def lines_below(self) -> tuple[str, ...]:
        """The lines below the rule."""
        return self.lines[len(self.lines) - self.below :]

    @property
    def indent(self) -> int:
        """How far the dash is from the margin."""
        return _indent(self.lines[self.comments])

    def at(self, indent: int) -> Block:
        """Return the same rule, with its dash so far from the margin."""
        old, new = self.indent, " " * indent
        if old == indent:
            return self
        # What stands further to the left is a comment, or goes on with a text in quotes.
        moved = (line[old:] if _indent(line) >= old else line.lstrip(" ") for line in self.lines)
        return self._replace(lines=tuple(f"{new}{line}" if line else line for line in moved))


@dataclass(frozen=True, slots=True)
class AnswersText:
    """A file of answers, cut at its rules. Changes return another one."""

    name: str
    """Of the file, fit to be shown."""
    head: tuple[str, ...]
    """The lines above the first rule."""
    key: int
    """Which of them begins the list of rules."""
    blocks: tuple[Block, ...]
    indent: int = 0
    """How far the dashes are from the margin."""

    @property
    def text(self) -> str:
        """The whole file."""
        lines = [*self.head, *(line for block in self.blocks for line in block.lines)]
        if not self.blocks:
            lines[self.key] = _KEY.sub(r"\g<0> []", lines[self.key], count=1)
        return "\n".join(lines) + "\n"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in order."""
        return tuple(block.rule for block in self.blocks)

    def index(self, name: str) -> int | None:
        """Return the place of the rule of this name, from 0; None if there is none."""
        return next((at for at, block in enumerate(self.blocks) if block.rule.name == name), None)

    def line_of(self, at: int) -> int:
        """Return the line, from 1, on which the rule at this place begins."""
        before = sum(len(block.lines) for block in self.blocks[:at])
        return len(self.head) + before + self.blocks[at].comments + 1

    def block_of(self, text: str, names: Names) -> Block:
        """Return the block that a rule is, given as somebody wrote it, with a dash or without.

        Raises:
            RuleFileError: something is wrong with it; positions are those in *text*.

        """
        _check_printable(Source(0, "rule", text))
        lines, comments, moved = _as_item(text)
        if comments == len(lines):
            raise _no_single_rule("there is none")
        source = Source(0, "rule", "\n".join([*self.head, *lines]))
        try:
            rules = load_answers(source, names)
        except RuleFileError as error:
            raise RuleFileError(_moved(error, len(self.head), moved)) from None
        if len(rules) != 1:
            raise _no_single_rule("it is one mapping with name: and action:")
        if not _is_alone(lines, comments, 0):
            raise _no_single_rule("it depends on what stands before it, or goes on after its end")
        return Block(rules[0], tuple(lines), comments).at(self.indent)

    def with_block(self, block: Block) -> AnswersText:
        """Return the file with a further rule at its end."""
        return replace(self, blocks=(*self.blocks, block.at(self.indent)))

    def replaced(self, at: int, block: Block) -> AnswersText:
        """Return the file with another rule in the place of one; what stands around it stays."""
        old, block = self.blocks[at], block.at(self.indent)
        above = old.lines[: old.comments] if not block.comments else ()
        lines = (*above, *block.lines, *old.lines_below)
        whole = Block(block.rule, lines, len(above) + block.comments, block.below + old.below)
        return replace(self, blocks=(*self.blocks[:at], whole, *self.blocks[at + 1 :]))

    def without(self, at: int) -> AnswersText:
        """Return the file without a rule and the comments right above it."""
        return self._taken(at)[0]

    def moved(self, at: int, to: int) -> AnswersText:
        """Return the file with a rule at another place among them."""
        if at == to:
            return self
        rest, block = self._taken(at)
        return replace(rest, blocks=(*rest.blocks[:to], block, *rest.blocks[to:]))

    def _taken(self, at: int) -> tuple[AnswersText, Block]:
        """Return the file without a rule, and that; comments below it stay where they are."""
        block, before, after = self.blocks[at], self.blocks[:at], self.blocks[at + 1 :]
        below = block.lines_below
        if not any(map(str.strip, below)):
            return replace(self, blocks=(*before, *after)), block
        alone = block._replace(lines=block.lines[: len(block.lines) - block.below], below=0)
        if not before:
            return replace(self, head=(*self.head, *below), blocks=after), alone
        last = before[-1]
        last = last._replace(lines=(*last.lines, *below), below=last.below + len(below))
        return replace(self, blocks=(*before[:-1], last, *after)), alone


def read_answers(source: Source, names: Names) -> AnswersText:
    """Cut the text of a file of answers.

    Raises:
        RuleFileError: something is wrong with it, or it is laid out in a way that cannot be cut.

    """
    _check_printable(source)
    rules = load_answers(source, names)
    lines = source.text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    cut = _cut(source.name, lines, rules) if rules else _cut_without_rules(source, lines)
    _check(cut, source, names)
    return cut


def _cut(name: str, lines: list[str], rules: tuple[Rule, ...]) -> AnswersText:
    starts = [int(rule.origin.rpartition(":")[2]) for rule in rules]
    indent = _indent(lines[starts[0] - 1])
    cuts = [_with_comments(lines, start - 1, indent) for start in starts]
    ends = [*cuts[1:], len(lines)]
    blocks = tuple(
        Block(rule, tuple(lines[cut:end]), start - 1 - cut, _below(lines[start:end], indent))
        for rule, start, cut, end in zip(rules, starts, cuts, ends, strict=True)
    )
    head = tuple(lines[: cuts[0]])
    keys = [at for at, line in enumerate(head) if _KEY.match(line)]
    return AnswersText(name, head, keys[-1] if keys else 0, blocks, indent)


def _cut_without_rules(source: Source, lines: list[str]) -> AnswersText:
    """Return a file without rules; the list's key is moved to the end if it is not there."""
    root = parse(source, Problems())
    keys = [key for key, _ in root.pairs] if isinstance(root, Mapping) else []
    found = next((key for key in keys if key.text == "rules"), None)
    if found is None:
        return AnswersText(source.name, (*lines, "rules:"), len(lines), ())
    at = found.position.line - 1
    line, before, after = _NO_RULES.sub(r"\1", lines[at]), lines[:at], lines[at + 1 :]
    if found is keys[-1]:
        return AnswersText(source.name, (*before, line, *after), at, ())
    return AnswersText(source.name, (*before, *after, line), len(lines) - 1, ())


def _check(cut: AnswersText, source: Source, names: Names) -> None:
    """See that what would be written says the same: changes are made in terms of lines."""
    as_before = cut.blocks and cut.text == source.text.replace("\r\n", "\n")
    if (
        all(
            _is_plain(each) or _is_alone(each.lines, each.comments, cut.indent)
            for each in cut.blocks
        )
        and (as_before or _names(cut, names) == [each.name for each in cut.rules])
        and _names(replace(cut, blocks=()), names) == []
    ):
        return
    why = (
        "rules: is not its last key, or not a list in which each rule stands by itself, from the "
        "line of its dash on"
    )
    instead = "lay it out as nfsnitch does: rules: at the end, and - name: … below it"
    raise RuleFileError([Problem(source.position(1, 1), "file of answers", why, instead)])


def _names(cut: AnswersText, names: Names) -> list[str] | None:
    try:
        return [each.name for each in load_answers(Source(0, cut.name, cut.text), names)]
    except RuleFileError:
        return None


def _is_plain(block: Block) -> bool:
    """Whether it can be seen without parsing that a block is one rule by itself: most are."""
    first, *rest = block.lines
    inside = " " * (block.indent + 1)
    return (
        not block.comments
        and not block.below
        and first.lstrip(" ").startswith(_DASH)
        and all(not line or line.startswith(inside) for line in rest)
        and not any(_FAR_REACHING.search(line) for line in block.lines)
    )


def _is_alone(lines: Sequence[str], comments: int, indent: int) -> bool:
    """Whether lines are one rule of a list whatever stands before and after them."""
    source = Source(0, "rule", "\n".join([*lines, f"{' ' * indent}{_DASH}the next one"]))
    root = parse(source, Problems())
    if not isinstance(root, SequenceNode) or not isinstance(root.items[0], Mapping):
        return False
    return [each.position.line for each in root.items] == [comments + 1, len(lines) + 1]


def _as_item(text: str) -> tuple[list[str], int, int]:
    """Return a rule as lines that begin with a dash, how many of them are comments, and a shift.

    The shift is how many columns it is now further to the right.
    """
    given = text.replace("\r\n", "\n").rstrip(" \t\n")
    dedented = textwrap.dedent(given)
    margin = _longest(given) - _longest(dedented)
    lines = dedented.split("\n")
    comments = len(list(takewhile(_is_comment, lines)))
    above, rule = [line.lstrip() for line in lines[:comments]], lines[comments:]
    if not rule or rule[0].startswith(_DASH):
        return [*above, *rule], comments, -margin
    first, *rest = rule
    indented = (f"  {line}" if line else line for line in rest)
    return [*above, f"{_DASH}{first}", *indented], comments, len(_DASH) - margin


def _longest(text: str) -> int:
    return max((len(line) for line in text.split("\n") if line.strip()), default=0)


def _with_comments(lines: Sequence[str], at: int, indent: int) -> int:
    """Return where the comments begin that stand right above line *at*."""
    while at and lines[at - 1].strip() and _is_comment(lines[at - 1], indent):
        at -= 1
    return at


def _below(lines: Sequence[str], indent: int) -> int:
    """Return how many of a rule's lines stand below it."""
    return len(list(takewhile(lambda line: _is_comment(line, indent), reversed(lines))))


def _is_comment(line: str, most_indent: int | None = None) -> bool:
    """Whether a line is empty or a comment, one that is not further to the right than that."""
    text = line.lstrip()
    if not text.startswith("#"):
        return not text
    return most_indent is None or _indent(line) <= most_indent


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _check_printable(source: Source) -> None:
    problems = Problems()
    note_unprintable(source, problems)
    problems.check()


def _no_single_rule(why: str) -> RuleFileError:
    return RuleFileError([Problem(Position(0, "rule", 1, 1), "rule", why, "write one rule")])


def _moved(error: RuleFileError, lines: int, columns: int) -> list[Problem]:
    moved = []
    for problem in error.problems:
        at = problem.position
        at = at._replace(line=max(1, at.line - lines), column=max(1, at.column - columns))
        moved.append(problem._replace(position=at))
    return moved
