"""The JSON Schema of rule files (draft 2020-12), made from the tables that the loader reads by.

The schema is for editors: it offers words and finds mistakes while one types. It never refuses what
the loader takes; what it cannot say (that a path has no ``//`` in it, that a group exists, that two
fields contradict each other) is left to ``nfsnitch check``.

YAML gives a value a type before a schema sees it: ``80`` is a number, ``true`` is none of our words
but no text either. The loader reads every value as it is written. So a value that may be any text
may be of any type here, and numbers may stand between quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nfsnitch.adapters.rulefile import (
    descriptions,
    identity_values,
    lists,
    name_values,
    values,
)
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, RuleField
from nfsnitch.adapters.rulefile.head import HEAD, MAX_NAME_CHARACTERS, MAX_NOTE_CHARACTERS
from nfsnitch.adapters.rulefile.setting_values import (
    parse_fail_mode,
    parse_hang_timeout_ns,
    parse_loopback,
)
from nfsnitch.adapters.rulefile.settings import GROUPS as SETTING_GROUPS
from nfsnitch.adapters.rulefile.settings import SETTINGS, Setting
from nfsnitch.adapters.rulefile.values import GroupKind
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import BYPASS_NAMES, PROTOCOL_NAMES, Family
from nfsnitch.core.listing import ListFormat
from nfsnitch.core.rule import AtQuestion
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import FailMode, Loopback

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = 1

_ANY_TEXT: Schema = {"type": ["string", "number", "boolean", "null"]}
"""Any single value: what YAML takes for something else is text to the loader."""
_DIGITS = "^(0|[1-9][0-9]{0,9})$"
_GROUP_NAME = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"


def _words(words: Iterable[str]) -> Schema:
    return {"enum": list(words)}


def _number(maximum: int) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": maximum}


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _or_group(*schemas: Schema) -> Schema:
    """Return what takes the name of a group as well; one may be called "true" or "null"."""
    return _either(
        *schemas, {"type": "string", "pattern": _GROUP_NAME}, {"type": ["boolean", "null"]}
    )


_SHA256: Schema = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
_WRITTEN_NUMBER: Schema = {"type": "string", "pattern": _DIGITS}
_VALUES: Mapping[Callable[..., Any], Schema] = {
    values.parse_action: _words(Action),
    values.parse_answer: _words(action for action in Action if action is not Action.ASK),
    values.parse_duration_ns: {"type": "string", "pattern": "^[1-9][0-9]{0,8}(ms|s|m|h)$"},
    parse_hang_timeout_ns: {"type": "string", "pattern": "^[1-9][0-9]{0,8}(ms|s|m|h)$"},
    parse_fail_mode: _words(FailMode),
    parse_loopback: _words(Loopback),
    values.parse_path: _or_group({"type": "string", "pattern": "^/"}),
    values.parse_uid: _or_group(_number(values.MAX_UID), _WRITTEN_NUMBER),
    values.parse_gid: _or_group(_number(values.MAX_UID), _WRITTEN_NUMBER),
    values.parse_proto: _either(
        _words([*PROTOCOL_NAMES.values(), *BYPASS_NAMES.values()]),
        _number(values.MAX_PROTO),
        _WRITTEN_NUMBER,
    ),
    identity_values.parse_sha256: _SHA256,
    identity_values.parse_sha256_text: _SHA256,
    identity_values.parse_changed: {"enum": [True, False, "true", "false"]},
    values.parse_family: _words(family.name.lower() for family in Family),
    values.parse_owner: _words(values.OWNERS),
    name_values.parse_on_unknown_name: _words(name_values.ON_UNKNOWN_NAME),
    name_values.parse_at_question: _words(AtQuestion),
    name_values.parse_switch: {"enum": [True, False, "true", "false"]},
    name_values.parse_keep_ns: {"type": "string", "pattern": "^[1-9][0-9]{0,8}(ms|s|m|h)$"},
    lists.parse_refresh_s: {"type": "string", "pattern": "^[1-9][0-9]{0,4}(m|h|d)$"},
    lists.parse_format: _words(ListFormat),
    lists.parse_file: {"type": "string", "pattern": "^/.*[^/]$"},
    lists.parse_url: {"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?:"},
    values.parse_dport: _or_group(_number(values.MAX_PORT), {"type": "string"}),
    values.parse_daddr: _or_group({"type": "string", "pattern": "^[0-9a-fA-F:]"}),
}
"""By the function that reads the value; where it is not here, any single value may stand."""


def rule_file_schema() -> Schema:
    """Return the schema of a rule file."""
    return {
        "$schema": DIALECT,
        "title": "nfsnitch rules",
        "description": "The first rule that matches decides; all fields of a rule must match.",
        "type": "object",
        "properties": {**_settings(), **_top_level()},
        "additionalProperties": False,
        "$defs": {
            "rule": _rule(),
            **{field.name: _value(field.parse, field.takes) for field in RULE_FIELDS.values()},
        },
    }


def _top_level() -> Schema:
    shapes: Schema = {
        "version": {"enum": [VERSION, str(VERSION)], "default": VERSION},
        **{name: _settings_group(group.settings) for name, group in SETTING_GROUPS.items()},
        "groups": {
            "type": "object",
            "propertyNames": {"pattern": _GROUP_NAME},
            "additionalProperties": _group(),
        },
        "lists": {
            "type": "object",
            "propertyNames": {"pattern": _GROUP_NAME},
            "additionalProperties": _list(),
        },
        "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
    }
    return {
        name: {"description": descriptions.TOP_LEVEL[name], **shape}
        for name, shape in shapes.items()
    }


def _settings_group(settings: Mapping[str, Setting]) -> Schema:
    return {
        "type": "object",
        "properties": {name: _setting(setting) for name, setting in settings.items()},
        "additionalProperties": False,
    }


def _group() -> Schema:
    """Return the schema of what a group is: addresses, or one kind of things under its name."""
    kinds = {
        name: {"description": descriptions.GROUPS.get(name, name), **_one_or_more(_ANY_TEXT)}
        for name in GroupKind
    }
    of_a_kind = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return _either(*_one_or_more(_ANY_TEXT)["anyOf"], of_a_kind)


def _list() -> Schema:
    keys = {
        name: _value(parse, descriptions.LISTS.get(name, name))
        for name, (_, parse) in lists.KEYS.items()
    }
    return {
        "type": "object",
        "properties": keys,
        "additionalProperties": False,
        "oneOf": [{"required": ["file"]}, {"required": ["url"]}],
    }


def _settings() -> Schema:
    return {name: _setting(setting) for name, setting in SETTINGS.items()}


def _setting(setting: Setting) -> Schema:
    schema = _value(setting.parse, descriptions.SETTINGS.get(setting.name, setting.name))
    default = getattr(Ruleset(), setting.attribute, None)
    if isinstance(default, Action):
        schema["default"] = default.value
    return schema


def _rule() -> Schema:
    shapes: Schema = {
        "name": {**_ANY_TEXT, "minLength": 1, "maxLength": MAX_NAME_CHARACTERS},
        "action": _VALUES[values.parse_action],
        "enabled": {"enum": [True, False, "true", "false"], "default": True},
        "note": {**_ANY_TEXT, "minLength": 1, "maxLength": MAX_NOTE_CHARACTERS},
        "on_unknown_name": _VALUES[name_values.parse_on_unknown_name],
        "dns": _VALUES[name_values.parse_at_question],
    }
    described = {
        name: {"description": descriptions.HEAD.get(name, name), **shapes.get(name, _ANY_TEXT)}
        for name in HEAD
    }
    return {
        "type": "object",
        "required": ["name", "action"],
        "properties": {**described, **{name: _field(each) for name, each in RULE_FIELDS.items()}},
        "additionalProperties": False,
    }


def _field(field: RuleField) -> Schema:
    """Return the schema of what stands after the field's name: a value, a list, or ``not``."""
    plain = _one_or_more({"$ref": f"#/$defs/{field.name}"})
    negated = {
        "type": "object",
        "description": "None of these.",
        "properties": {"not": plain},
        "required": ["not"],
        "additionalProperties": False,
    }
    description = descriptions.FIELDS.get(field.name, f"Takes {field.takes}.")
    return {"description": description, "anyOf": [*plain["anyOf"], negated]}


def _one_or_more(value: Schema) -> Schema:
    return _either(value, {"type": "array", "items": value, "minItems": 1})


def _value(parse: Callable[..., Any], description: str) -> Schema:
    return {"description": description, **_VALUES.get(parse, _ANY_TEXT)}
