"""Where everything stands in the rule files: warnings need it, and a ruleset lacks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, parse
from nfsnitch.adapters.rulefile.document import Sequence as SequenceNode
from nfsnitch.adapters.rulefile.files import read_sources
from nfsnitch.adapters.rulefile.problems import Position, Problems, RuleWarning, WarningCode, quoted
from nfsnitch.core.rule import Rule


@dataclass(frozen=True, slots=True)
class WrittenField:
    """A field of a rule as it is written."""

    position: Position
    negated: bool
    values: tuple[Scalar, ...]
    """In the order of the file; empty for what is no list of values."""


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """A rule as it is written."""

    name: str
    position: Position
    fields: Mapping[str, WrittenField]
    """All keys of the rule, with its name and action."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What stands where in all files."""

    rules: tuple[WrittenRule, ...]
    settings: tuple[tuple[str, Scalar], ...]
    """Keys of the top level whose value is a single one."""


class PlacedRule(NamedTuple):
    """A rule as it is written and as it was loaded."""

    written: WrittenRule
    rule: Rule

    def warning(self, code: WarningCode, why: str, instead: str) -> RuleWarning:
        """Return a warning of the whole rule."""
        what = f"rule {quoted(self.rule.name)}"
        return RuleWarning(self.written.position, code, what, why, instead)

    def positive(self, field: str) -> bool:
        """Whether the rule has *field* without ``not:``."""
        return field in self.written.fields and not self.written.fields[field].negated


def outline(paths: Sequence[Path]) -> Outline:
    """Return what stands where in the files at *paths*, in the order in which they are loaded."""
    problems = Problems()  # the files were loaded a moment ago: what is wrong by now is left out
    roots = [parse(source, problems) for source in read_sources(paths, problems)]
    pairs = [pair for root in roots if isinstance(root, MappingNode) for pair in root.pairs]
    rules = (rule for key, value in pairs if key.text == "rules" for rule in _rules(value))
    settings = ((key.text, value) for key, value in pairs if isinstance(value, Scalar))
    return Outline(tuple(rules), tuple(settings))


def _rules(node: Node) -> Iterator[WrittenRule]:
    for item in node.items if isinstance(node, SequenceNode) else ():
        if isinstance(item, MappingNode):
            fields = {key.text: _field(key, value) for key, value in item.pairs}
            named = fields["name"].values if "name" in fields else ()
            yield WrittenRule(named[0].text if named else "", item.position, fields)


def _field(key: Scalar, node: Node) -> WrittenField:
    negated = isinstance(node, MappingNode)
    inner = _under_not(node) if isinstance(node, MappingNode) else node
    nodes = inner.items if isinstance(inner, SequenceNode) else (inner,)
    scalars = tuple(each for each in nodes if isinstance(each, Scalar))
    return WrittenField(key.position, negated, scalars)


def _under_not(node: MappingNode) -> Node | None:
    return next((value for key, value in node.pairs if key.text == "not"), None)
