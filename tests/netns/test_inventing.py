"""Invented rules and flows: the firewall keeps its word, and one that does not is found out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.inventing.running import search
from lab.mutants.running import LAUNCHER
from nfsnitch.lab.scenario.outcomes import Result
from nfsnitch.lab.scenario.playing import Manner, Player
from nfsnitch.lab.scenario.reading import load
from nfsnitch.lab.scenario.writing import without_positions

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

SEED = 7
"""Always the same examples, so that it fails by what was changed; ``make invent`` has others."""
FAULT = "drop-becomes-accept"


def test_invented_flows_are_decided_as_the_rules_say(tmp_path: Path) -> None:
    told: list[str] = []
    with Player(Manner(keep=tmp_path)) as player:
        found = search(player, SEED, 12, told.append)
    assert found is None, f"{found.why}: {found.write(tmp_path, SEED)}"
    assert told == [f"{number} holds" for number in range(1, 13)]


@pytest.mark.slow
def test_what_a_wrong_firewall_does_is_brought_down_to_a_scenario(tmp_path: Path) -> None:
    wrong = Manner(keep=tmp_path, daemon=(sys.executable, str(LAUNCHER), FAULT))
    with Player(wrong) as player:
        found = search(player, SEED, 12)
        assert found is not None
        path = found.write(tmp_path, SEED)
        written = load(path)
        assert without_positions(written) == without_positions(found.scenario)
        again = player.play(written)
        assert again.result is Result.FAILED
    with Player(Manner(keep=tmp_path)) as player:
        assert player.play(written).result is Result.PASSED
