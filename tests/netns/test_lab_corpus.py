"""Every scenario of tests/lab, played against the real firewall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.lab.scenario.outcomes import Result
from nfsnitch.lab.scenario.playing import Manner, Player
from nfsnitch.lab.scenario.reading import load
from nfsnitch.lab.scenario.reports import outcome_lines

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.timeout(300),
]

FOLDER = Path(__file__).parents[1] / "lab"
FILES = sorted(FOLDER.rglob("*.yaml"))
GUESTS = (("6.1", "kprobe"), ("6.12", "lsm"))
"""Each kernel plays all in one attach mode, and in the other two with `ALL_GUESTS`."""
ALL_GUESTS = os.environ.get("NFSNITCH_LAB_GUESTS") == "all"


def in_order() -> list[Path]:
    """Return all files: those with the usual network first, then those that share nothing.

    By a look at the text: to read them takes an emulated machine half a minute.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}
    return sorted(FILES, key=lambda file: ("\nfresh:" in texts[file], "\nnetwork:" in texts[file]))


def params() -> Iterator[object]:
    """Yield the files as parameters."""
    for file in in_order():
        yield pytest.param(file, id=str(file.relative_to(FOLDER).with_suffix("")))


@pytest.fixture(name="player", scope="module")
def fixture_player() -> Iterator[Player]:
    with Player(Manner()) as player:
        yield player


@(pytest.mark.vm_guest if ALL_GUESTS else pytest.mark.vm_guest(each=GUESTS))
@pytest.mark.parametrize("file", list(params()))
def test_a_scenario_goes_as_it_says(file: Path, player: Player) -> None:
    outcome = player.play(load(file))

    if outcome.result is Result.SKIPPED and os.environ.get("NFSNITCH_GUEST_MODE") is None:
        pytest.skip(outcome.why)
    assert outcome.result is Result.PASSED, "\n".join(outcome_lines(outcome))


def test_there_are_enough_and_each_says_what_it_shows_in_one_sentence() -> None:
    shows = [load(file).shows for file in FILES]

    assert len(FILES) >= 60
    assert len(set(shows)) == len(shows)
    assert [each for each in shows if not each.endswith(".") or "\n" in each] == []
