"""Large files, which are cut at their rules: they say what they say when YAML reads them whole."""

from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import written_files
from nfsnitch.adapters.rulefile import Names, RuleFileError, items, load, loader, plain_rules
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.items import NotPlainError, head_and_items, parts_of
from nfsnitch.adapters.rulefile.plain_rules import PlainRules, RuleSink
from nfsnitch.adapters.rulefile.problems import Problems
from nfsnitch.adapters.rulefile.rules import Rules
from nfsnitch.adapters.rulefile.values import Known
from random_rules import chance_by

NAMES = Names(
    {"alice": 1000}.get,
    lambda service: frozenset({80} if service == "http" else ()),
    {"staff": 50}.get,
    {"own": 1, "lab": 7}.get,
)
_seeds = st.integers(0, 1 << 62)
_quick = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def found(path: Path, large_characters: int) -> tuple[str, list[str]]:
    """Return what a file says, or what is wrong with it; and its warnings."""
    warnings: list[str] = []
    with patch.object(loader, "LARGE_CHARACTERS", large_characters):
        try:
            ruleset = load([path], NAMES, lambda warning: warnings.append(str(warning)))
        except RuleFileError as error:
            return str(error), warnings
    return written_files.said(ruleset), warnings


@_quick
@given(_seeds, st.booleans())
def test_whatever_stands_in_a_large_file_means_what_it_means_in_a_small_one(
    tmp_path: Path,
    seed: int,
    wrong: bool,  # noqa: FBT001
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(written_files.written_file(chance_by(seed), wrong=wrong), encoding="utf-8")

    assert found(path, 0) == found(path, 1 << 30)


def test_rules_written_plainly_are_never_shown_to_the_yaml_parser(tmp_path: Path) -> None:
    rules = "".join(
        f"  - {{name: rule {at}, action: allow, exe: /usr/bin/app, dport: [{at + 1}, 80]}}\n"
        for at in range(2_000)
    )
    path = tmp_path / "rules.yaml"
    path.write_text(f"version: 1\nrules:\n{rules}", encoding="utf-8")

    with patch.object(items.Items, "node_of") as node_of:
        ruleset = load([path], NAMES)

    assert len(ruleset.rules) == 2_000
    assert ruleset.rules[1_999].origin == f"{path}:2002"
    assert not node_of.called


def test_a_rule_that_is_not_plain_is_parsed_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n  - {name: a, action: deny}\n  - {name: 'b', action: deny}\n")

    with (
        patch.object(loader, "LARGE_CHARACTERS", 0),
        patch.object(items.Items, "node_of", autospec=True, side_effect=items.Items.node_of) as of,
    ):
        ruleset = load([path], NAMES)

    assert [rule.name for rule in ruleset.rules] == ["a", "b"]
    assert of.call_count == 1


def test_more_values_than_a_file_may_have_are_as_many_however_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    rules = "".join(f"  - {{name: r{at}, action: deny, uid: [1, 2]}}\n" for at in range(100))
    path.write_text(f"rules:\n{rules}")

    _, apart = head_and_items(Source(0, "f", path.read_text()), Problems())
    assert apart is not None
    reading = PlainRules(Rules(Known(NAMES, {}), Problems()), RuleSink(None))
    with patch.object(plain_rules, "MAX_NODES", 900), pytest.raises(NotPlainError):
        reading.read(apart)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("- {name: a, action: deny}", ["name: a", "action: deny"]),
        ("- {name: a, dport: [1, 2], uid: 0}", ["name: a", "dport: [1, 2]", "uid: 0"]),
        ("- {uid: [1], gid: [2, 3]}", ["uid: [1]", "gid: [2, 3]"]),
        ("- name: a", ["name: a"]),
        ("- {name: a", None),
        ("- {name: a} # so", None),
    ],
)
def test_a_rule_on_one_line_is_cut_at_its_commas(line: str, parts: list[str] | None) -> None:
    assert parts_of([line], 0) == parts


@pytest.mark.parametrize("value", ["'a'", "a #b", "a: b", "a:", "-", "*a", "&a", "!a", "a  b", "ä"])
def test_what_yaml_might_take_for_something_else_is_not_plain(value: str) -> None:
    assert items.part(f"name: {value}") is None


@pytest.mark.parametrize("value", ["a", "/usr/bin/*", "2001:db8::/32", "08:00-18:00", "a (b) c"])
def test_what_is_made_of_words_is_plain(value: str) -> None:
    found_part = items.part(f"name: {value}")
    assert found_part is not None
    assert found_part.values == (value,)
