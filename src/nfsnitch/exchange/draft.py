"""A rule file in the making: rules as texts of their fields, checked as the loader reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import yaml

from nfsnitch.adapters.rulefile import Names, RuleFileError
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.head import MAX_NAME_CHARACTERS, MAX_NOTE_CHARACTERS
from nfsnitch.adapters.rulefile.loader import load_text
from nfsnitch.adapters.rulefile.writing import Value, rule_text
from nfsnitch.core.text import shown
from nfsnitch.exchange.report import Report

MAX_RULES = 50_000

_HOST = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
_MAX_HOST_CHARACTERS = 253
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_NEVER_IN_LIST_NAMES = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
_MAX_LIST_NAME = 64
_MAX_LINE = 96
_PLAIN = re.compile(
    r"[a-z/][A-Za-z0-9_./-]*|[0-9]+(\.[0-9]+){3}(/[0-9]+)?|(0|[1-9][0-9]{0,9})|[0-9]{1,5}-[0-9]{1,5}",
    re.ASCII,
)
_PLAIN_BELOW = re.compile(r"\*\.[a-z0-9_.-]+", re.ASCII)
_WORDS_OF_YAML = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_BREAKS_FLOW = re.compile(r"^[^'\"].*[,\[\]{}]|^[^'\"]?:|\n")
"""What means something else between brackets than on a line of its own."""


@dataclass(frozen=True, slots=True)
class ListDraft:
    """A list of the rule file."""

    name: str
    where: str
    """A path or a URL."""
    format: str
    others: Mapping[str, str] = field(default_factory=dict)
    """What else is to be said of it."""

    def fields(self) -> dict[str, str]:
        """Return it as the rule file has it."""
        place = "url" if "://" in self.where else "file"
        return {place: self.where, "format": self.format, **self.others}


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule of the rule file."""

    name: str
    action: str
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values of each field, any of which must match."""
    note: str | None = None
    enabled: bool = True
    file: str = ""
    """Where it comes from, for the report."""
    negated: frozenset[str] = frozenset()
    """Fields of which no value must match."""
    head: Mapping[str, str] = field(default_factory=dict)
    """What else stands at its head: ``expires`` and the like."""


@dataclass(slots=True)
class FileDraft:
    """A rule file."""

    title: str
    """For the comment at its top: where it comes from."""
    settings: dict[str, Any] = field(default_factory=dict)
    lists: list[ListDraft] = field(default_factory=list)
    rules: list[RuleDraft] = field(default_factory=list)

    def text(self) -> str:
        """Return it as YAML."""
        parts = [f"# {shown(self.title)}\n"]
        if self.settings:
            parts.append(yaml.safe_dump(self.settings, sort_keys=False, default_flow_style=False))
        if self.lists:
            parts.append("lists:\n")
            parts += (_list_text(each) for each in self.lists)
        parts.append("rules:\n" if self.rules else "rules: []\n")
        parts += (_item(_rule_text(rule)) for rule in self.rules)
        return "".join(parts)

    def document(self) -> dict[str, Any]:
        """Return the same as data, of the shape that the rule file has."""
        lists = {each.name: each.fields() for each in self.lists}
        rules = [_rule_document(rule) for rule in self.rules]
        return {
            "version": 1,
            **self.settings,
            **({"lists": lists} if lists else {}),
            "rules": rules,
        }


class UniqueNames:
    """Gives each rule a name of its own that can stand in a rule file."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, wanted: str) -> str:
        """Return *wanted*, as it can be written, or with a number if another rule has it."""
        plain = shown(wanted[:MAX_NAME_CHARACTERS]).strip()[: MAX_NAME_CHARACTERS - 12]
        plain = plain or "without a name"
        name, number = plain, self._next.get(plain, 2)
        while name in self._taken:
            name = f"{plain} ({number})"
            number += 1
        self._next[plain] = number
        self._taken.add(name)
        return name


def list_name(wanted: str, taken: Collection[str] = ()) -> str:
    """Return a name that a list can have, as near to *wanted* as may be, and none of *taken*."""
    plain = _NEVER_IN_LIST_NAMES.sub("-", wanted).strip("-_")
    if not plain[:1].isalpha():
        plain = f"list-{plain}".rstrip("-")
    plain = plain[: _MAX_LIST_NAME - 6]
    numbered = (f"{plain}-{number}" for number in count(2))
    return plain if plain not in taken else next(name for name in numbered if name not in taken)


def note_text(text: str) -> str | None:
    """Return *text* as it can stand as a note; None if there is nothing in it."""
    plain = " ".join(shown(line) for line in text[:MAX_NOTE_CHARACTERS].split())
    return plain[:MAX_NOTE_CHARACTERS].strip() or None


def is_host(text: str) -> bool:
    """Whether *text* can be a name of a host in a rule, or all below one."""
    return len(text) <= _MAX_HOST_CHARACTERS and _HOST.fullmatch(text) is not None


def keep_good(draft: FileDraft, names: Names, report: Report) -> None:
    """Keep those rules of *draft* that the loader takes; *report* is told of the others and why.

    Lists that no rule names any more go as well. *names* are this machine's, for users and
    services.
    """
    kept: list[RuleDraft] = []
    stack = [draft.rules]
    while stack:
        batch = stack.pop()
        why = _problem(FileDraft("", lists=draft.lists, rules=batch), names) if batch else None
        if why is None:
            kept += batch
        elif len(batch) == 1:
            report.left_out(batch[0].file, batch[0].name, why)
        else:
            middle = len(batch) // 2
            stack += [batch[middle:], batch[:middle]]
    draft.rules = kept
    used = {name for rule in kept for name in rule.fields.get("list", ())}
    draft.lists = [each for each in draft.lists if each.name in used]


def _problem(draft: FileDraft, names: Names) -> str | None:
    """Return the first thing that is wrong with *draft*; None: nothing is."""
    try:
        load_text(Source(0, "rules", draft.text()), names)
    except RuleFileError as error:
        first = error.problems[0]
        return f"{first.what}: {first.why}; {first.instead}"
    return None


def _rule_text(rule: RuleDraft) -> str:
    head: dict[str, Value] = {"name": rule.name, "action": rule.action}
    if rule.note is not None:
        head["note"] = rule.note
    parts = [rule_text({**head, **rule.head})]
    if not rule.enabled:
        parts.append("enabled: false\n")
    for name, values in rule.fields.items():
        parts.append(_field_text(name, values, negated=name in rule.negated))
    return "".join(parts)


def _field_text(name: str, values: tuple[str, ...], *, negated: bool) -> str:
    """Return a field as one line if it is short, else with a line for each value."""
    if len(values) == 1 and not negated:
        return f"{name}: {_value_text(values[0])}\n"
    lines = [_value_text(value) for value in values]
    listed = f"[{', '.join(lines)}]" if len(lines) > 1 else lines[0]
    flow = f"{name}: {{not: {listed}}}\n" if negated else f"{name}: {listed}\n"
    if len(flow) <= _MAX_LINE and not any(_BREAKS_FLOW.search(line) for line in lines):
        return flow
    start, indent = (f"{name}:\n  not:\n", "    ") if negated else (f"{name}:\n", "  ")
    return "".join([start, *(f"{indent}- {line}\n" for line in lines)])


def _value_text(value: str) -> str:
    """Return a value as YAML has it; most need no looking into, and there may be many."""
    if _PLAIN.fullmatch(value) and value not in _WORDS_OF_YAML:
        return value
    if _PLAIN_BELOW.fullmatch(value):
        return f"'{value}'"
    return rule_text({"x": _written(value)}).removeprefix("x: ").rstrip("\n")


def _rule_document(rule: RuleDraft) -> dict[str, Any]:
    document: dict[str, Any] = {"name": rule.name, "action": rule.action}
    if rule.note is not None:
        document["note"] = rule.note
    document |= rule.head
    if not rule.enabled:
        document["enabled"] = False
    for name, values in rule.fields.items():
        written = [_written(value) for value in values]
        plain = written[0] if len(written) == 1 else written
        document[name] = {"not": plain} if name in rule.negated else plain
    return document


def _written(value: str) -> Value:
    """Return a number as one, so that it stands without quotes."""
    return int(value) if _NUMBER.fullmatch(value) else value


def _list_text(each: ListDraft) -> str:
    flow = yaml.safe_dump(
        each.fields(),
        default_flow_style=True,
        sort_keys=False,
        width=float("inf"),
    )
    return f"  {each.name}: {flow}"


def _item(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(f"{'  - ' if at == 0 else '    '}{line}" for at, line in enumerate(lines))
