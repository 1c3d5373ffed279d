"""The text of a file of answers: rules that come and go one by one, while the rest stays as it is.

A person may write into the file, too. So it is not written anew from what was understood of it: it
is cut into blocks of lines, one for each rule with the comments above it, and a change adds, takes
away or moves blocks.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from nfsnitch.adapters.rulefile.document import Mapping, parse
from nfsnitch.adapters.rulefile.document import Sequence as SequenceNode
from nfsnitch.adapters.rulefile.files import Source
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


class Block(NamedTuple):
    """One rule, with the lines it is made of."""

    rule: Rule
    lines: tuple[str, ...]
    """Without line ends; the comments above the rule first."""
    comments: int
    """How many of the lines are these."""

    @property
    def text(self) -> str:
        """The rule alone, as somebody would edit it: without the dash of the list."""
        first, *rest = self.lines[self.comments :]
        return textwrap.dedent("\n".join([first.replace("-", " ", 1), *rest])).strip("\n") + "\n"


@dataclass(frozen=True, slots=True)
class AnswersText:
    """A file of answers, cut at its rules. Changes return another one."""

    name: str
    """Of the file, fit to be shown."""
    head: tuple[str, ...]
    """The lines above the first rule, the last of which begins the list."""
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The whole file."""
        lines = [*self.head, *(line for block in self.blocks for line in block.lines)]
        if not self.blocks:
            lines[-1] = f"{lines[-1].partition(':')[0]}: []"
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
        lines = textwrap.dedent(text.expandtabs(2)).rstrip().split("\n")
        comments = next(
            (at for at, line in enumerate(lines) if line and line[0] != "#"), len(lines)
        )
        added = 0 if lines[comments : comments + 1] and lines[comments].startswith(_DASH) else 2
        if added:
            lines = [f"  {line}" if line else line for line in lines]
            lines[:comments] = [line[2:] for line in lines[:comments]]
            if comments < len(lines):
                lines[comments] = f"{_DASH}{lines[comments][2:]}"
        source = Source(0, "rule", "\n".join([*self.head, *lines]) + "\n")
        try:
            rules = load_answers(source, names)
        except RuleFileError as error:
            raise RuleFileError(_moved(error, len(self.head), added)) from None
        if len(rules) != 1:
            what, why = "rule", "it is one mapping with name: and action:"
            at = Position(0, "rule", 1, 1)
            raise RuleFileError([Problem(at, what, why, "write one rule")])
        return Block(rules[0], tuple(lines), comments)

    def with_block(self, block: Block) -> AnswersText:
        """Return the file with a further rule at its end."""
        return replace(self, blocks=(*self.blocks, block))

    def replaced(self, at: int, block: Block) -> AnswersText:
        """Return the file with another rule in the place of one; the comments above stay."""
        old = self.blocks[at]
        comments = old.lines[: old.comments] if not block.comments else ()
        whole = Block(block.rule, (*comments, *block.lines), len(comments) + block.comments)
        return replace(self, blocks=(*self.blocks[:at], whole, *self.blocks[at + 1 :]))

    def without(self, at: int) -> AnswersText:
        """Return the file without a rule."""
        return replace(self, blocks=self.blocks[:at] + self.blocks[at + 1 :])

    def moved(self, at: int, to: int) -> AnswersText:
        """Return the file with a rule at another place among them."""
        blocks = list(self.blocks)
        blocks.insert(to, blocks.pop(at))
        return replace(self, blocks=tuple(blocks))


def read_answers(source: Source, names: Names) -> AnswersText:
    """Cut the text of a file of answers.

    Raises:
        RuleFileError: something is wrong with it, or it is laid out in a way that cannot be cut.

    """
    rules = load_answers(source, names)
    starts = _starts(source)
    lines = source.text.rstrip("\n").replace("\r\n", "\n").split("\n")
    if not rules:
        return AnswersText(source.name, _head_of_empty(lines), ())
    cuts = [_with_comments(lines, start - 1) for start in starts]
    ends = [*cuts[1:], len(lines)]
    blocks = tuple(
        Block(rule, _unindented(lines[cut:end]), start - 1 - cut)
        for rule, start, cut, end in zip(rules, starts, cuts, ends, strict=True)
    )
    head = "\n".join(lines[: cuts[0]]).rstrip("\n").split("\n")
    cut = AnswersText(source.name, tuple(head), blocks)
    _check(cut, source, names)
    return cut


def _check(cut: AnswersText, source: Source, names: Names) -> None:
    """See that what would be written says the same: changes are made in terms of lines."""
    try:
        again = load_answers(Source(0, source.name, cut.text), names)
    except RuleFileError:
        again = ()
    if [each.name for each in again] != [each.name for each in cut.rules]:
        why = (
            "rules: is not its last key, or not a list with a line of its own for each rule's dash"
        )
        instead = "lay it out as nfsnitch does: rules: at the end, and - name: … below it"
        raise RuleFileError([Problem(source.position(1, 1), "file of answers", why, instead)])


def _starts(source: Source) -> list[int]:
    root = parse(source, Problems())
    if not isinstance(root, Mapping):
        return []
    listed = next((node for key, node in root.pairs if key.text == "rules"), None)
    items = listed.items if isinstance(listed, SequenceNode) else ()
    return [item.position.line for item in items]


def _with_comments(lines: Sequence[str], at: int) -> int:
    """Return where the comments begin that stand right above line *at*."""
    while at and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at


def _unindented(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(textwrap.dedent("\n".join(lines)).split("\n"))


def _head_of_empty(lines: list[str]) -> tuple[str, ...]:
    """Return the lines of a file without rules, the list's key moved to the end."""
    kept = [line for line in lines if not line.startswith("rules:")]
    return (*kept, "rules:")


def _moved(error: RuleFileError, lines: int, columns: int) -> list[Problem]:
    moved = []
    for problem in error.problems:
        at = problem.position
        at = at._replace(line=max(1, at.line - lines), column=max(1, at.column - columns))
        moved.append(problem._replace(position=at))
    return moved
