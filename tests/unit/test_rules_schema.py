"""The JSON Schema of rule files: it says what the loader says, or less, never more."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nfsnitch import cli
from nfsnitch.adapters.rulefile import Names, RuleFileError, descriptions, load
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.head import HEAD, MAX_NAME_CHARACTERS
from nfsnitch.adapters.rulefile.lists import KEYS as LISTS
from nfsnitch.adapters.rulefile.schema import VERSION, rule_file_schema
from nfsnitch.adapters.rulefile.settings import LIMITS, SETTINGS, TIMEOUTS
from nfsnitch.adapters.rulefile.settings import NAMES as SETTINGS_OF_NAMES
from nfsnitch.adapters.rulefile.values import GroupKind
from nfsnitch.resources import rules_schema
from rule_trees import rule_files

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "rules.example.yaml"
SCHEMA = rule_file_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
NAMES = Names({"alice": 1000}.get, lambda service: frozenset({80} if service == "http" else ()))


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CoreSchemaLoader(_SafeLoader):  # type: ignore[misc]
    """Gives values the types that editors give them: those of YAML 1.2's core schema."""


CoreSchemaLoader.yaml_implicit_resolvers = {}
for tag, expression, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    CoreSchemaLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{expression})$"), list(first)
    )
CoreSchemaLoader.add_constructor(
    "tag:yaml.org,2002:int", lambda _, node: int(node.value, 16 if "x" in node.value else 10)
)


def as_an_editor_reads(text: str) -> object:
    return yaml.load(text, CoreSchemaLoader)  # noqa: S506  it is a SafeLoader


def is_valid(text: str) -> bool:
    return VALIDATOR.is_valid(as_an_editor_reads(text))


def a_rule(fields: str) -> str:
    return f"rules:\n- name: r\n  action: allow\n  {fields}\n"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_file_that_is_shipped_is_the_schema_of_the_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["schema"]) == 0
    assert rules_schema().read_text(encoding="utf-8") == capsys.readouterr().out  # make generated


def test_the_example_file_names_the_schema_and_keeps_to_it() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    (named,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    assert (ROOT / named).samefile(rules_schema())
    assert is_valid(text)


@pytest.mark.parametrize("document", ["docs/rules.md", "docs/editors.md", "README.md"])
def test_every_rule_file_in_the_documents_keeps_to_it(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert examples
    for each in examples:
        VALIDATOR.validate(as_an_editor_reads(each))


@pytest.mark.parametrize(
    "text",
    [
        "rulez: []",
        "version: 2",
        "default: maybe",
        "default: [ask]",
        "unanswered: ask",
        "timeouts: 30s",
        "timeouts: {aks: 30s}",
        "timeouts: {ask: 30}",
        "rules: {}",
        "rules:",
        "rules: [x]",
        "rules: [{name: r}]",
        "rules: [{action: deny}]",
        "rules: [{name: '', action: deny}]",
        "rules: [{name: [r], action: deny}]",
        "rules: [{name: r, action: no}]",
        "groups: []",
        "groups: {a: []}",
        "groups: {a b: 10.0.0.1}",
        "groups: {a: {b: c}}",
        "[]",
        "just text",
        "",
        *map(
            a_rule,
            (
                "exee: /x",
                "exe: usr/bin/curl",
                "exe: []",
                "exe: [[/a]]",
                "exe: {}",
                "exe: {nto: /a}",
                "exe: {not: {not: /a}}",
                "exe: {not: []}",
                "uid: 1.5",
                "uid: 4294967295",
                "uid: -1",
                "proto: tpc",
                "proto: 256",
                "family: ipv5",
                "family: 4",
                "owner: process",
                "dport: 65536",
                "dport: [80, -1]",
                "daddr: 10",
            ),
        ),
    ],
)
def test_what_the_loader_refuses_for_its_shape_the_schema_refuses_too(
    text: str, tmp_path: Path
) -> None:
    assert not is_valid(text)
    assert not loads(text, tmp_path / "rules.yaml")


@given(rule_files())
@example({"groups": {"true": "10.0.0.1"}, "rules": []})
def test_what_the_loader_takes_the_schema_takes(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    if loads(text, tmp_path_factory.getbasetemp() / "rules.yaml"):
        VALIDATOR.validate(as_an_editor_reads(text))


@given(st.sampled_from(sorted(RULE_FIELDS)), st.sampled_from(["true", "null", "~", "12", "1.5"]))
def test_words_that_yaml_takes_for_something_else_are_taken_where_the_loader_takes_them(
    tmp_path_factory: pytest.TempPathFactory, field: str, word: str
) -> None:
    text = f"groups: {{true: 10.0.0.1, 'null': 10.0.0.2}}\n{a_rule(f'{field}: [{word}]')}"
    if loads(text, tmp_path_factory.getbasetemp() / "words.yaml"):
        VALIDATOR.validate(as_an_editor_reads(text))


def loads(text: str, file: Path) -> bool:
    file.write_text(text, encoding="utf-8")
    try:
        load([file], NAMES)
    except RuleFileError:
        return False
    return True


def test_the_limits_are_the_loader_s(tmp_path: Path) -> None:
    for length, fits in ((MAX_NAME_CHARACTERS, True), (MAX_NAME_CHARACTERS + 1, False)):
        text = f"version: {VERSION}\nrules: [{{name: {'n' * length}, action: deny}}]"
        assert is_valid(text) is fits
        assert loads(text, tmp_path / "rules.yaml") is fits


@pytest.mark.parametrize("field", RULE_FIELDS)
def test_every_field_is_described(field: str) -> None:
    assert descriptions.FIELDS[field].endswith(".")
    assert SCHEMA["$defs"]["rule"]["properties"][field]["description"] == descriptions.FIELDS[field]


@pytest.mark.parametrize("key", HEAD)
def test_every_other_key_of_a_rule_is_described(key: str) -> None:
    assert descriptions.HEAD[key].endswith(".")


def test_nothing_is_described_that_is_not_there() -> None:
    assert set(descriptions.FIELDS) == set(RULE_FIELDS)
    assert set(descriptions.HEAD) == set(HEAD)
    assert set(descriptions.GROUPS) == set(GroupKind)
    assert set(descriptions.SETTINGS) == {*SETTINGS, *TIMEOUTS, *LIMITS, *SETTINGS_OF_NAMES}
    assert set(descriptions.LISTS) == set(LISTS)


@pytest.mark.parametrize("setting", [*SETTINGS, *TIMEOUTS, *LIMITS, *SETTINGS_OF_NAMES])
def test_every_setting_is_described(setting: str) -> None:
    assert descriptions.SETTINGS[setting].endswith(".")


def test_the_schema_has_every_key_that_the_loader_knows(tmp_path: Path) -> None:
    told = problem(tmp_path, "no-such-key: 1")
    assert set(SCHEMA["properties"]) == set(told.partition(" a rule file has ")[2].split(", "))
    told = problem(tmp_path, a_rule("no-such-key: 1"))
    properties = SCHEMA["$defs"]["rule"]["properties"]
    assert set(properties) == set(told.partition(" a rule has ")[2].split(", "))


def problem(directory: Path, text: str) -> str:
    """Return what the loader says of *text*, without what to write instead."""
    file = directory / "rules.yaml"
    file.write_text(text)
    with pytest.raises(RuleFileError) as caught:
        load([file], NAMES)
    return str(caught.value).rpartition("; ")[0]


def test_a_default_in_the_schema_is_the_default_that_holds() -> None:
    document = json.loads(rules_schema().read_text(encoding="utf-8"))
    defaults = {name: each.get("default") for name, each in document["properties"].items()}
    assert defaults["default"] == "ask"
    assert defaults["unattributed"] == defaults["unanswered"] == "deny"
