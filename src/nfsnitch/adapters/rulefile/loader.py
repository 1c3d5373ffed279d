"""From rule files to a ruleset: all of them, or none and everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from nfsnitch.adapters.rulefile.document import Mapping, Node, Scalar, kind, parse
from nfsnitch.adapters.rulefile.drafts import Drafts
from nfsnitch.adapters.rulefile.files import Raw, Source, read_raw, read_sources, sources_of
from nfsnitch.adapters.rulefile.groups import Groups
from nfsnitch.adapters.rulefile.items import Items, NotPlainError, head_and_items
from nfsnitch.adapters.rulefile.lists import Lists
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.plain_rules import PlainRules, RuleSink, Sink
from nfsnitch.adapters.rulefile.problems import (
    Problems,
    RuleFileError,
    RuleWarning,
    closest,
    quoted,
)
from nfsnitch.adapters.rulefile.rules import Rules
from nfsnitch.adapters.rulefile.settings import GROUPS, SETTINGS, Settings
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset

S = TypeVar("S", bound=Sink)

VERSION = "1"
LARGE_CHARACTERS = 65_536
"""From so many on files are read as `items` does."""

_TOP_LEVEL = ("version", *SETTINGS, *GROUPS, "groups", "lists", "rules")
_TOP_LEVEL_OF_ANSWERS = ("version", "groups", "rules")


def load(
    paths: Sequence[Path], names: Names, warned: Callable[[RuleWarning], None] | None = None
) -> Ruleset:
    """Return the rules of all files at *paths*, and in the directories among them, merged in order.

    Rules keep the order of the files; groups are shared; a setting may stand in several files, but
    must then say the same. *warned* is called with each name that this machine does not have:
    nothing has it, so a rule matches nothing by it.

    Raises:
        RuleFileError: something is wrong with any of the files.

    """
    problems = Problems()
    return load_files(read_raw(paths, problems), names, problems, warned)


def load_files(
    files: Sequence[Raw],
    names: Names,
    problems: Problems,
    warned: Callable[[RuleWarning], None] | None = None,
) -> Ruleset:
    """Return the rules of files that are read; *problems* are what was wrong with reading them.

    Raises:
        RuleFileError: something is wrong with any of the files, or there were problems.

    """
    ruleset, warnings = read(sources_of(files, problems), names, problems)
    if warned is not None:
        for warning in warnings:
            warned(warning)
    return ruleset


def load_text(source: Source, names: Names) -> Ruleset:
    """Return the rules in the text of one file.

    Raises:
        RuleFileError: something is wrong with it.

    """
    return read([source], names, Problems())[0]


def read(
    sources: Sequence[Source], names: Names, problems: Problems
) -> tuple[Ruleset, tuple[RuleWarning, ...]]:
    """Return the rules in the texts of all files, and what to warn of.

    Raises:
        RuleFileError: something is wrong with them, or there were *problems* before.

    """
    found = collect(sources, names, problems, RuleSink)
    return found.ruleset(tuple(found.sink.rules)), found.warnings


class Collected(NamedTuple, Generic[S]):
    """What stands in all files."""

    sink: S
    """Has the rules."""
    drafts: Drafts
    """Read those of them that are plain."""
    dependent: Callable[[Condition], bool]
    """Whether a condition is made of more than its text."""
    attributes: dict[str, Any]
    """Of the ruleset, beside the rules."""
    warnings: tuple[RuleWarning, ...]

    def ruleset(self, rules: tuple[Rule, ...]) -> Ruleset:
        """Return the ruleset of these *rules*."""
        return Ruleset(rules, **self.attributes)


def collect(
    sources: Sequence[Source],
    names: Names,
    problems: Problems,
    sink_of: Callable[[Action | None], S],
) -> Collected[S]:
    """Return what stands in the texts of all files.

    *sink_of* makes what takes the rules, of the settings' ``on_unknown_name``.

    Raises:
        RuleFileError: something is wrong with the files, or there were *problems* before.

    """
    is_large = sum(len(source.text) for source in sources) >= LARGE_CHARACTERS
    if is_large and not problems.count:
        attempt = Problems()
        with suppress(NotPlainError, RuleFileError):
            documents = [_without_items(source, attempt) for source in sources]
            return _collected(documents, names, attempt, sink_of)
    roots = [parse(source, problems) for source in sources]
    documents = [_Document(_top_level(root, problems)) for root in roots if root is not None]
    return _collected(documents, names, problems, sink_of)


class _Document(NamedTuple):
    """One file: what stands under its keys."""

    nodes: dict[str, Node]
    items: Items | None = None
    """Its rules, where they are none of the nodes."""


def _without_items(source: Source, problems: Problems) -> _Document:
    root, items = head_and_items(source, problems)
    if root is None:
        raise NotPlainError
    return _Document(_top_level(root, problems), items)


def _collected(
    documents: Sequence[_Document],
    names: Names,
    problems: Problems,
    sink_of: Callable[[Action | None], S],
) -> Collected[S]:
    groups, lists = Groups(problems, names), Lists(problems)
    for document in documents:
        if "groups" in document.nodes:
            groups.read(document.nodes["groups"])
        if "lists" in document.nodes:
            lists.read(document.nodes["lists"])
    settings = _read_settings([document.nodes for document in documents], problems)
    attributes = {**settings.attributes(), "lists": tuple(lists.lists.values())}
    known = Known(names, groups.resolved(), lists.lists)
    rules = Rules(known, problems, settings.on_unknown_name)
    sink = sink_of(settings.on_unknown_name)
    plain = PlainRules(rules, sink)
    for document in documents:
        if document.items is not None:
            plain.read(document.items)
        elif "rules" in document.nodes:
            rules.read(document.nodes["rules"])
            sink.add_others(None, None, rules.taken())
    problems.check()
    return Collected(sink, plain.drafts, rules.is_dependent, attributes, problems.warnings)


def load_answers_file(path: Path, names: Names) -> tuple[Rule, ...]:
    """Return the rules of the file of answers at *path*.

    Raises:
        RuleFileError: something is wrong with it.

    """
    problems = Problems()
    sources = read_sources([path], problems)
    problems.check()
    return tuple(rule for source in sources for rule in load_answers(source, names))


def load_answers(source: Source, names: Names) -> tuple[Rule, ...]:
    """Return the rules in the text of a file of answers, which has rules and groups and no more.

    Raises:
        RuleFileError: something is wrong with it.

    """
    problems = Problems()
    root = parse(source, problems)
    document = {} if root is None else _top_level(root, problems, _TOP_LEVEL_OF_ANSWERS)
    groups = Groups(problems, names)
    if "version" in document:
        _check_version(document["version"], problems)
    if "groups" in document:
        groups.read(document["groups"])
    rules = Rules(Known(names, groups.resolved()), problems)
    if "rules" in document:
        rules.read(document["rules"])
    problems.check()
    return tuple(rules.rules)


def _top_level(
    root: Node, problems: Problems, known: tuple[str, ...] = _TOP_LEVEL
) -> dict[str, Node]:
    """Return the nodes under the keys of the top level that there are."""
    if not isinstance(root, Mapping):
        why = f"its top level is a mapping, not {kind(root)}"
        problems.add(root.position, "rule file", why, "write rules: and the rules below it")
        return {}
    for key, _ in root.pairs:
        if key.text not in known:
            why = f"a rule file has {', '.join(known)}"
            instead = closest(key.text, known, "remove it")
            problems.add(key.position, f"unknown key {quoted(key.text)}", why, instead)
    return {key.text: value for key, value in root.pairs}


def _read_settings(documents: Sequence[dict[str, Node]], problems: Problems) -> Settings:
    settings = Settings(problems)
    for document in documents:
        if "version" in document:
            _check_version(document["version"], problems)
        for name, setting in SETTINGS.items():
            if name in document:
                settings.read(setting, document[name])
        for name in GROUPS:
            if name in document:
                settings.read_group(name, document[name])
    return settings


def _check_version(node: Node, problems: Problems) -> None:
    if not isinstance(node, Scalar) or node.text != VERSION:
        why = "this nfsnitch reads version 1 of the rule language"
        problems.add(node.position, "version", why, "write version: 1")
