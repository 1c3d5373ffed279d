"""docs/rules.md: its examples load, its messages and outputs are the real ones."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from nfsnitch import cli
from nfsnitch.adapters.rulefile import Names, RuleFileError, load
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.settings import SETTINGS, TIMEOUTS
from nfsnitch.core.rule import Ruleset

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
NAMES = Names(
    {"alice": 1000}.get,
    lambda service: frozenset({"http": {80}, "https": {443}}.get(service, ())),
)


class Block(NamedTuple):
    """A fenced block of the document."""

    line: int
    kind: str
    text: str
    before: str
    """The text of the fenced block before it."""


def _blocks() -> list[Block]:
    document = DOCUMENT.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in re.finditer(r"^```([a-z ]+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL):
        line = document.count("\n", 0, match.start()) + 1
        before = blocks[-1].text if blocks else ""
        blocks.append(Block(line, match[1], match[2], before))
    return blocks


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
    assert {block.kind for block in _blocks()} == {"yaml", "yaml refused", "text", "console"}


def test_the_first_example_has_the_defaults(rules: Path) -> None:
    rules.write_text(_blocks()[0].text)
    ruleset = load([rules], NAMES)
    assert Ruleset(ruleset.rules) == ruleset


@pytest.mark.parametrize("field", RULE_FIELDS)
def test_every_field_has_a_heading_and_an_example(field: str) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert re.search(rf"^### .*`{field}`", document, re.MULTILINE)
    examples = "".join(block.text for block in _blocks() if block.kind == "yaml")
    assert re.search(rf"^    {field}: ", examples, re.MULTILINE)


@pytest.mark.parametrize("setting", [*SETTINGS, *TIMEOUTS])
def test_every_setting_stands_in_the_first_example(setting: str) -> None:
    assert f"{setting}: " in _blocks()[0].text
