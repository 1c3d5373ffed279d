"""docs/lab.md: it names all that the reader of scenarios knows, and its scenarios can be read."""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.problems import Problem, RuleFileError
from nfsnitch.commands import lab_run
from nfsnitch.lab.scenario import invariants, model
from nfsnitch.lab.scenario.layers import LAYERS
from nfsnitch.lab.scenario.outcomes import Result
from nfsnitch.lab.scenario.reading import load_text
from nfsnitch.lab.scenario.reading_expectations import FIGURES, JUDGED
from nfsnitch.protocol import Say

TREE = Path(__file__).parents[2]
DOCUMENT = (TREE / "docs" / "lab.md").read_text(encoding="utf-8")
SCENARIOS = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
TABLES = re.sub(r"^```.*?^```$", "", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
NAMED = {
    word for code in re.findall(r"`([^`]+)`", TABLES) for word in re.findall(r"[\w.-]*\w", code)
}
"""All words that are written as code outside of the examples."""

UNKNOWN_EVERYWHERE = """\
unknown: 1
shows: Each mapping has a key that nobody knows.
network:
  unknown: 1
  hosts: {client: {unknown: 1, routes: [{unknown: 1, to: default, via: 192.0.2.1}]}}
  wires: {access: {unknown: 1}}
programs: {good: {unknown: 1, binary: curl}}
rules: |
  default: deny
steps:
  - unknown: 1
  - run: {unknown: 1, program: $good}
  - send: {unknown: 1, packet: {IP: {dst: 198.51.100.2}}}
  - answer: {unknown: 1}
  - rules: {unknown: 1, text: default}
  - firewall: unknown
  - command: {unknown: 1, argv: [ip]}
  - expect: {unknown: 1}
  - expect: {unknown: 1, record: {dport: 1}}
  - expect: {unknown: 1, no_record: {dport: 1}}
  - expect: {unknown: 1, arrived: {IP: {}}}
  - expect: {unknown: 1, nothing_sent: {IP: {}}}
  - expect: {unknown: 1, counter: packets}
  - expect: {unknown: 1, end: good}
"""
KEYS_BY = {
    "the file": "steps",
    "network": "wires",
    "host": "masquerades",
    "route": "via",
    "wire": "delay",
    "program": "binary",
    "step": "clock",
    "run": "parents",
    "send": "truncate",
    "answer": "duration",
    "rules": "refused",
    "firewall": "resume",
    "command": "argv",
    "expect": "nothing_arrived",
    "end": "stderr",
}
"""Of each mapping one key, by which it can be seen that the reader told its keys."""


def problems_of(text: str) -> list[Problem]:
    try:
        load_text(Source(0, "example.yaml", text))
    except RuleFileError as error:
        return list(error.problems)
    return []


def told_keys() -> set[str]:
    """Return what the reader says instead of a key that it does not know."""
    said = " ".join(problem.why for problem in problems_of(UNKNOWN_EVERYWHERE))
    lists = re.findall(r"(?:has|is) (?:one of )?((?:[a-z_]+, )*[a-z_]+ or [a-z_]+)", said)
    return {word for each in lists for word in re.split(r", | or ", each)}


@pytest.mark.parametrize("key", KEYS_BY.values(), ids=KEYS_BY)
def test_the_reader_tells_the_keys_of_each_mapping(key: str) -> None:
    assert key in told_keys()


def test_each_key_step_and_expectation_is_in_the_document() -> None:
    assert told_keys() - NAMED == set()


@pytest.mark.parametrize(
    "words",
    [
        model.NEEDS,
        model.SERVICES,
        tuple(model.FirewallDeed),
        tuple(Say),
        tuple(LAYERS),
        (*FIGURES, JUDGED),
        ("hex", "fragment", "order", "truncate"),
        tuple(Result),
        tuple(invariants.LOSSES),
    ],
    ids=[
        *("needs", "services", "deeds", "answers", "layers", "figures", "shapes", "results"),
        "losses",
    ],
)
def test_each_word_is_in_the_document(words: tuple[str, ...]) -> None:
    assert [word for word in words if word not in NAMED] == []


def test_each_option_of_lab_run_is_in_the_document() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    lab_run.add_options(parser)
    options = re.findall(r"--[a-z]+", parser.format_help())
    assert "--junit" in options
    assert [each for each in options if f"`{each}" not in TABLES] == []


def test_no_layer_is_in_the_document_that_scenarios_cannot_have() -> None:
    lines = re.findall(r"^- `([A-Za-z0-9_\s]+)`$", TABLES, re.MULTILINE)
    named = [name for line in lines for name in line.split()]
    assert sorted(named) == sorted(LAYERS)


@pytest.mark.parametrize("text", SCENARIOS, ids=range(len(SCENARIOS)))
def test_its_scenarios_are_read_without_problems(text: str) -> None:
    assert problems_of(text) == []


def test_there_are_as_many_scenarios_as_steps_of_the_introduction() -> None:
    assert len(SCENARIOS) == len(
        re.findall(r"^# nfsnitch lab run \w+\.yaml\npassed", DOCUMENT, re.MULTILINE)
    )
    assert len({yaml.safe_load(text)["shows"] for text in SCENARIOS}) == len(SCENARIOS)


def test_the_scenario_in_the_readme_is_read_without_problems() -> None:
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^    shows: .*\n(?:    .*\n)+", readme, re.MULTILINE)
    assert problems_of(textwrap.dedent(text)) == []
