"""docs/rules.md: its examples load, its messages and outputs are the real ones."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from nfsnitch import cli
from nfsnitch.adapters.rulefile import Names, RuleFileError, load
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.head import HEAD
from nfsnitch.adapters.rulefile.settings import LIMITS, SETTINGS, TIMEOUTS
from nfsnitch.commands import explain_options
from nfsnitch.core.ruleset import Ruleset

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
OWN_NETNS = 4_026_531_840
SERVICES = {"http": {80}, "https": {443}, "smtp": {25}, "submission": {587}}
NAMES = Names(
    {"alice": 1000}.get,
    lambda service: frozenset(SERVICES.get(service, ())),
    {"postfix": 106}.get,
    {"own": OWN_NETNS, "lab": 4_026_532_000}.get,
)
NO_RULE = "no rule"


class Block(NamedTuple):
    """A fenced block of the document."""

    line: int
    kind: str
    text: str
    before: str
    """The text of the fenced block before it."""
    after: str
    """The kind of the fenced block after it."""


def _blocks() -> list[Block]:
    document = DOCUMENT.read_text(encoding="utf-8")
    fences = re.finditer(r"^```([a-z ]+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    matches = [None, *fences, None]
    return [
        Block(
            document.count("\n", 0, match.start()) + 1,
            match[1],
            match[2],
            before[2] if before else "",
            after[1] if after else "",
        )
        for before, match, after in zip(matches, matches[1:], matches[2:], strict=False)
        if match
    ]


def _of_kind(kind: str) -> list[object]:
    return [pytest.param(block, id=str(block.line)) for block in _blocks() if block.kind == kind]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("rules.yaml")


@pytest.mark.parametrize("block", _of_kind("yaml"))
def test_an_example_loads(block: Block, rules: Path) -> None:
    rules.write_text(block.text)
    assert load([rules], NAMES).rules


@pytest.mark.parametrize("block", _of_kind("yaml"))
def test_an_example_is_followed_by_flows_that_show_what_it_does(block: Block) -> None:
    assert block.after in {"flows", "console"}


@pytest.mark.parametrize("block", _of_kind("flows"))
def test_the_flows_are_decided_by_the_rules_that_are_named(
    block: Block, rules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain_options, "system_names", lambda: NAMES)
    rules.write_text(block.before)
    deciding: set[str] = set()
    for line in block.text.splitlines():
        options, rule = re.split(" +=>  ", line)
        assert cli.main(["explain", "--rules", "rules.yaml", "--json", *shlex.split(options)]) == 0
        assert (json.loads(capsys.readouterr().out)["rule"] or NO_RULE) == rule, line
        deciding.add(rule)
    in_force = {each.name for each in load([rules], NAMES).rules if each.enabled}
    assert deciding >= {NO_RULE}
    assert len(deciding & in_force) >= 1


@pytest.mark.parametrize("block", _of_kind("text"))
def test_the_messages_are_those_of_the_refused_example_before(block: Block, rules: Path) -> None:
    rules.write_text(block.before)
    with pytest.raises(RuleFileError) as caught:
        load([rules], NAMES)
    assert block.text == f"{caught.value}\n"


@pytest.mark.parametrize("block", _of_kind("console"))
def test_the_output_is_that_of_the_command(
    block: Block, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules.write_text(block.before)
    command, _, output = block.text.partition("\n")
    dollar, program, *words = shlex.split(command)
    assert (dollar, program) == ("$", "nfsnitch")
    assert cli.main(words) == 0
    assert output == capsys.readouterr().out


def test_every_kind_of_block_is_tested() -> None:
    assert {block.kind for block in _blocks()} == {
        *("yaml", "yaml refused", "text", "console", "flows")
    }


def test_the_first_example_has_the_defaults(rules: Path) -> None:
    rules.write_text(_blocks()[0].text)
    ruleset = load([rules], NAMES)
    assert Ruleset(ruleset.rules) == ruleset


@pytest.mark.parametrize("field", [*HEAD, *RULE_FIELDS])
def test_every_field_has_a_heading_and_an_example(field: str) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert re.search(rf"^### .*`{field}`", document, re.MULTILINE)
    examples = "".join(block.text for block in _blocks() if block.kind == "yaml")
    assert re.search(rf"^(?:    |  - ){field}:", examples, re.MULTILINE)


@pytest.mark.parametrize("setting", [*SETTINGS, *TIMEOUTS, *LIMITS])
def test_every_setting_stands_in_the_first_example(setting: str) -> None:
    assert f"{setting}: " in _blocks()[0].text
