"""A ruleset as a rule file that says the same: groups and names written out, defaults left away."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from nfsnitch.adapters.rulefile.settings import GROUPS, SETTINGS, Setting
from nfsnitch.core.listing import ListDefinition, ListFormat
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.exchange.draft import FileDraft, ListDraft, RuleDraft
from nfsnitch.exchange.plain import NotPlainError, PlainRule, plain
from nfsnitch.exchange.report import Report

_DURATIONS_NS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 10**9, "ms": 10**6}
_DAY_S = 86_400
_DURATIONS_S = {"d": _DAY_S, "h": 3_600, "m": 60, "s": 1}


def file_draft(ruleset: Ruleset, title: str, report: Report) -> FileDraft:
    """Return *ruleset* as a rule file; *report* is told of what no file can say."""
    draft = FileDraft(title, _settings(ruleset))
    draft.lists = [_list_draft(each.definition) for each in ruleset.lists]
    for rule in ruleset.rules:
        try:
            found = plain(rule)
        except NotPlainError as error:
            report.left_out(place(rule), rule.name, str(error))
            continue
        if found.never_matches:
            why = "it names nothing that there is on this machine; it is put out of force"
            report.changed(place(rule), rule.name, why)
        draft.rules.append(rule_draft(found))
    return draft


def rule_draft(found: PlainRule) -> RuleDraft:
    """Return a rule as its draft; fields that name nothing are left away, and it out of force."""
    rule = found.rule
    head = {} if found.expires is None else {"expires": found.expires}
    if rule.on_unknown_name is not None:
        head["on_unknown_name"] = rule.on_unknown_name.value
    if rule.dns is not None:
        head["dns"] = rule.dns.value
    fields = {name: each for name, each in found.fields.items() if each.values}
    return RuleDraft(
        rule.name,
        rule.action.value,
        {name: each.values for name, each in fields.items()},
        rule.note,
        enabled=rule.enabled and not found.never_matches,
        file=place(rule),
        negated=frozenset(name for name, each in fields.items() if each.negated),
        head=head,
    )


def place(rule: Rule) -> str:
    """Return where a rule was read, for the report."""
    return rule.origin or "rules"


def _settings(ruleset: Ruleset) -> dict[str, Any]:
    """Return those settings that are not what they are without a word."""
    return {
        **_given(SETTINGS, (ruleset, ruleset.settings), (Ruleset(), Ruleset().settings)),
        **{name: group for name in GROUPS if (group := _group(name, ruleset))},
    }


def _group(name: str, ruleset: Ruleset) -> dict[str, Any]:
    given, default = (_holders(name, each) for each in (ruleset, Ruleset()))
    return _given(GROUPS[name].settings, given, default)


def _holders(group: str, ruleset: Ruleset) -> tuple[object, ...]:
    """Return the objects that have the settings of a group."""
    own = {"limits": ruleset.settings.limits, "names": ruleset.settings.names}
    return (own[group],) if group in own else (ruleset, ruleset.settings)


def _given(
    settings: Mapping[str, Setting], given: tuple[object, ...], default: tuple[object, ...]
) -> dict[str, Any]:
    values = {name: _value(setting.attribute, given) for name, setting in settings.items()}
    usual = {name: _value(setting.attribute, default) for name, setting in settings.items()}
    return {
        name: _written(settings[name].attribute, value)
        for name, value in values.items()
        if value != usual[name]
    }


def _value(attribute: str, holders: tuple[object, ...]) -> object:
    return next((getattr(each, attribute) for each in holders if hasattr(each, attribute)), None)


def _written(attribute: str, value: Any) -> Any:  # noqa: ANN401  settings are of any kind
    if isinstance(value, StrEnum):
        return value.value
    if attribute.endswith("_ns"):
        return _duration(value, _DURATIONS_NS)
    return value


def _duration(value: int, units: Mapping[str, int]) -> str:
    """Return a duration in the largest unit of which it is a multiple."""
    unit = next((name for name, size in units.items() if value % size == 0), list(units)[-1])
    return f"{value // units[unit]}{unit}"


def _list_draft(definition: ListDefinition) -> ListDraft:
    usual = ListDefinition("", "")
    others: dict[str, str] = {}
    if definition.refresh_s != usual.refresh_s:
        others["refresh"] = _duration(definition.refresh_s, _DURATIONS_S)
    if definition.sha256 is not None:
        others["sha256"] = definition.sha256
    kind = definition.format or ListFormat.AUTO
    return ListDraft(definition.name, definition.where, kind.value, others)
