"""From rule files to a ruleset: all of them, or none and everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nfsnitch.adapters.rulefile.document import Mapping, Node, Scalar, kind, parse
from nfsnitch.adapters.rulefile.files import Source, read_sources
from nfsnitch.adapters.rulefile.groups import Groups
from nfsnitch.adapters.rulefile.lists import Lists
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Problems, RuleWarning, closest, quoted
from nfsnitch.adapters.rulefile.rules import Rules
from nfsnitch.adapters.rulefile.settings import GROUPS, SETTINGS, Settings
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset

VERSION = "1"

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
    ruleset = _ruleset(read_sources(paths, problems), names, problems)
    if warned is not None:
        for warning in problems.warnings:
            warned(warning)
    return ruleset


def load_text(source: Source, names: Names) -> Ruleset:
    """Return the rules in the text of one file.

    Raises:
        RuleFileError: something is wrong with it.

    """
    return _ruleset([source], names, Problems())


def _ruleset(sources: Sequence[Source], names: Names, problems: Problems) -> Ruleset:
    roots = [parse(source, problems) for source in sources]
    documents = [_top_level(root, problems) for root in roots if root is not None]
    groups, lists = Groups(problems, names), Lists(problems)
    for document in documents:
        if "groups" in document:
            groups.read(document["groups"])
        if "lists" in document:
            lists.read(document["lists"])
    settings = _read_settings(documents, problems)
    attributes = settings.attributes()
    known = Known(names, groups.resolved(), lists.lists)
    rules = Rules(known, problems, settings.on_unknown_name)
    for document in documents:
        if "rules" in document:
            rules.read(document["rules"])
    problems.check()
    return Ruleset(tuple(rules.rules), **attributes, lists=tuple(lists.lists.values()))


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
