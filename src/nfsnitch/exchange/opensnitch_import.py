"""OpenSnitch's rules as ours.

OpenSnitch tries all its rules in the order of their names. The first one that matches and denies,
rejects or has precedence decides at once; if there is none, the last one that matches does, and
all those allow. So the rules that decide at once come first here, in the same order, and then the
others from the last name to the first: the first of ours that matches says what OpenSnitch says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.text import counted
from nfsnitch.exchange.draft import (
    MAX_RULES,
    FileDraft,
    ListDraft,
    RuleDraft,
    UniqueNames,
    keep_good,
    list_name,
    note_text,
)
from nfsnitch.exchange.json_text import NotReadableError, parse
from nfsnitch.exchange.opensnitch_condition import Aliases, Fields, Said, UnsayableError
from nfsnitch.exchange.opensnitch_operands import said
from nfsnitch.exchange.opensnitch_rules import NotARuleError, OpenSnitchRule, read_rules
from nfsnitch.exchange.report import ImportFailedError, Report

MAX_ALTERNATIVES = 64
"""Rules of ours that one of theirs may become."""

_FORMATS = {"lists.domains": "hosts", "lists.ips": "networks", "lists.nets": "networks"}
_DEFAULT_ACTIONS = ("allow", "deny", "reject")

FolderLister = Callable[[str], Sequence[str] | None]
"""Returns the files of a folder of lists, as absolute paths; None: it cannot be read."""


class Source(NamedTuple):
    """What there is to be imported, as text."""

    place: str
    """Where the rules are."""
    rules: Sequence[tuple[str, str]]
    """Name and text of each file of rules."""
    config: tuple[str, str] | None = None
    """Name and text of OpenSnitch's default-config.json."""
    aliases: tuple[str, str] | None = None
    """Name and text of its network_aliases.json."""


def import_opensnitch(
    source: Source, files_in: FolderLister, names: Names, report: Report
) -> FileDraft:
    """Return *source* as a rule file; *report* is told what changed and what is left out.

    Raises:
        ImportFailedError: a file that was named cannot be read.

    """
    importer = _Importer(source, files_in, report)
    importer.draft.rules = importer.drafts()
    keep_good(importer.draft, names, report)
    if importer.caseless:
        why = (
            f"OpenSnitch takes capitals for small letters in the paths of "
            f"{counted(importer.caseless, 'rule')}; paths are exact here"
        )
        report.changed(source.place, None, why)
    return importer.draft


def in_our_order(rules: Iterable[OpenSnitchRule]) -> list[OpenSnitchRule]:
    """Return *rules* in an order in which the first that matches decides as OpenSnitch does.

    Of rules of one name the last one counts, as it does there.
    """
    by_name = {rule.name: rule for rule in rules}
    ordered = sorted(by_name.values(), key=lambda rule: encoded_name(rule.name))
    return [rule for rule in ordered if rule.ends] + [
        rule for rule in reversed(ordered) if not rule.ends
    ]


def encoded_name(name: str) -> bytes:
    """Return a name by which names sort as Go sorts them: by their bytes."""
    return name.encode("utf-8", "surrogatepass")


class _Importer:
    def __init__(self, source: Source, files_in: FolderLister, report: Report) -> None:
        self._report = report
        self._files_in = files_in
        self._names = UniqueNames()
        self._lists: dict[str, tuple[str, ...]] = {}
        """Names of lists by the operand and the folder that they come from."""
        self._list_names: set[str] = set()
        self.caseless = 0
        """Rules in which OpenSnitch takes capitals for small letters, where ours do not."""
        self.draft = FileDraft(f"Imported from OpenSnitch's rules in {source.place}")
        self._aliases = _aliases(source.aliases)
        if source.config is not None:
            self.draft.settings = _settings(source.config)
        self._rules = in_our_order(self._read(source.rules))

    def drafts(self) -> list[RuleDraft]:
        """Return the rules that can be said; the report is told of the others."""
        drafts: list[RuleDraft] = []
        for rule in self._rules:
            if len(drafts) >= MAX_RULES:
                why = f"there are more than {MAX_RULES} rules"
                self._report.left_out(rule.file, None, why)
                break
            try:
                drafts += self._drafts_of(rule)
            except UnsayableError as error:
                self._report.left_out(rule.file, rule.name, f"{error}{_consequence(rule)}")
        return drafts

    def _read(self, files: Iterable[tuple[str, str]]) -> list[OpenSnitchRule]:
        rules: dict[str, OpenSnitchRule] = {}
        for file, text in sorted(files):
            try:
                found = list(read_rules(file, text))
            except NotReadableError as error:
                self._report.left_out(file, None, str(error))
                continue
            for each in found:
                if isinstance(each, NotARuleError):
                    self._report.left_out(file, each.rule, str(each))
                    continue
                earlier = rules.pop(each.name, None)
                if earlier is not None:
                    why = f"{file} has another rule of this name, and OpenSnitch takes the last one"
                    self._report.changed(earlier.file, each.name, why)
                rules[each.name] = each
        return list(rules.values())

    def _drafts_of(self, rule: OpenSnitchRule) -> list[RuleDraft]:
        parts = [said(operator, self._aliases) for operator in rule.operators]
        alternatives = _product([self._any_of(rule, part) for part in parts])
        for part in parts:
            for why in part.in_part:
                self._report.in_part(rule.file, rule.name, why)
        self.caseless += any(part.folds_case for part in parts)
        enabled = self._enabled(rule)
        note = note_text(rule.description)
        return [
            RuleDraft(self._names.name(rule.name), rule.action, fields, note, enabled, rule.file)
            for fields in alternatives
        ]

    def _enabled(self, rule: OpenSnitchRule) -> bool:
        """Return whether the rule is to be in force, and report what is not kept of it."""
        if rule.nolog:
            why = "OpenSnitch keeps no record of what it decides; here there are records of all"
            self._report.changed(rule.file, rule.name, why)
        if rule.legacy_list and rule.enabled:
            why = (
                "its conditions stand in data, which OpenSnitch reads of disabled rules alone: "
                "there it matches every connection, here it asks for the conditions"
            )
            self._report.changed(rule.file, rule.name, why)
        if not rule.enabled or not rule.is_temporary:
            return rule.enabled
        duration = f"OpenSnitch keeps it for {quoted(rule.duration)}, anew with each start"
        if rule.action == "allow":
            why = f"{duration}; here it is out of force (enabled: false)"
            self._report.changed(rule.file, rule.name, why)
            return False
        self._report.changed(rule.file, rule.name, f"{duration}; here it is for ever")
        return True

    def _any_of(self, rule: OpenSnitchRule, part: Said) -> tuple[Fields, ...]:
        """Return the alternatives of a condition, its lists among them."""
        if part.list_folder is None:
            return part.any_of
        if part.list_operand == "lists.domains":
            why = "names that are aliases (CNAME) of one on its lists count as listed here"
            self._report.changed(rule.file, rule.name, why)
        return ({"list": self._lists_of(part.list_operand, part.list_folder)},)

    def _lists_of(self, operand: str, folder: str) -> tuple[str, ...]:
        key = f"{operand} {folder}"
        if key not in self._lists:
            files = self._files_in(folder)
            if files is None:
                raise UnsayableError(f"{operand}: the folder {quoted(folder)} cannot be read")
            if not files:
                raise UnsayableError(f"{operand}: the folder {quoted(folder)} has no lists")
            self._lists[key] = tuple(self._new_list(file, operand) for file in files)
        return self._lists[key]

    def _new_list(self, file: str, operand: str) -> str:
        stem = file.rpartition("/")[2].rpartition(".")[0]
        name = list_name(stem, self._list_names)
        self._list_names.add(name)
        self.draft.lists.append(ListDraft(name, file, _FORMATS[operand]))
        return name


def _product(conditions: Sequence[tuple[Fields, ...]]) -> list[Fields]:
    """Return the ways in which all *conditions* hold, each of which holds in several ways."""
    ways: list[Fields] = [{}]
    for any_of in conditions:
        ways = [_both(way, fields) for way in ways for fields in any_of]
        if len(ways) > MAX_ALTERNATIVES:
            raise UnsayableError(f"it would become more than {MAX_ALTERNATIVES} rules")
    return ways


def _both(one: Fields, other: Fields) -> Fields:
    for name, values in other.items():
        if one.get(name, values) != values:
            raise UnsayableError(f"it asks twice for {name}:, and a rule can do so once")
    return {**one, **other}


def _consequence(rule: OpenSnitchRule) -> str:
    """Say what it means that a rule is not there."""
    if rule.action == "allow" or not rule.enabled:
        return ""
    return f" (what it is to {rule.action} is not refused without it)"


def _aliases(source: tuple[str, str] | None) -> Aliases:
    if source is None:
        return Aliases()
    found = _read_object(*source)
    aliases: dict[str, tuple[str, ...]] = {}
    for name, networks in found.items():
        if not isinstance(networks, list) or not all(isinstance(each, str) for each in networks):
            raise ImportFailedError(f"{quoted(source[0])}: an alias is a list of networks")
        aliases[name] = tuple(networks)
    return Aliases(aliases)


def _settings(source: tuple[str, str]) -> dict[str, str]:
    """Return what OpenSnitch does where no rule matches: it asks, if anybody is there to answer."""
    action = _read_object(*source).get("DefaultAction")
    if action not in _DEFAULT_ACTIONS:
        raise ImportFailedError(f"{quoted(source[0])}: it has no DefaultAction that is known")
    return {"default": "ask", "unanswered": str(action)}


def _read_object(file: str, text: str) -> Mapping[str, object]:
    try:
        found = parse(text)
    except NotReadableError as error:
        raise ImportFailedError(f"{quoted(file)}: {error}") from None
    if not isinstance(found, dict):
        raise ImportFailedError(f"{quoted(file)}: it is no JSON object")
    return found
