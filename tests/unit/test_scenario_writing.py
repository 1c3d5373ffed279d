"""Scenarios that are written into files: what is read from there is the same scenario."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.reading import load, load_text
from nfsnitch.lab.scenario.standard import STANDARD
from nfsnitch.lab.scenario.writing import as_yaml, without_positions

CORPUS = Path(__file__).parents[1] / "lab"
FILES = sorted(CORPUS.rglob("*.yaml"))
"""They have all that scenarios can say, between them."""


def read_again(scenario: Scenario) -> Scenario:
    return load_text(Source(0, "again.yaml", as_yaml(scenario)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_scenario_is_written_as_it_is_read(file: Path) -> None:
    scenario = load(file)
    assert without_positions(read_again(scenario)) == without_positions(scenario)


def test_what_is_written_again_is_the_same_text() -> None:
    scenario = load(FILES[0])
    assert as_yaml(read_again(scenario)) == as_yaml(scenario)


def test_a_network_without_the_standard_router_cannot_be_written() -> None:
    client, _, server = STANDARD.hosts
    scenario = load(FILES[0])
    without = replace(scenario, network=replace(STANDARD, hosts=(client, server)))
    with pytest.raises(ValueError, match="a host of the standard network is missing"):
        as_yaml(without)
