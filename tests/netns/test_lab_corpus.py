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
"""Each third scenario goes to one of them, with `ALL_GUESTS` all go to all: emulated, they take ten
seconds each."""
_SHARE = 3
ALL_GUESTS = os.environ.get("NFSNITCH_LAB_GUESTS") == "all"


def in_order() -> list[Path]:
    """Return all files: those with the usual network first, then those that share nothing.

    By a look at the text: to read them takes an emulated machine minutes, and each guest plays a
    part of them.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}
    return sorted(FILES, key=lambda file: ("\nfresh:" in texts[file], "\nnetwork:" in texts[file]))


def params() -> Iterator[object]:
    """Yield the files as parameters, each with its guests."""
    for number, file in enumerate(in_order()):
        name = str(file.relative_to(FOLDER).with_suffix(""))
        yield pytest.param(file, id=name, marks=in_guests(number, file))


def in_guests(number: int, file: Path) -> pytest.MarkDecorator:
    """Return where else the scenario of this number is played."""
    if ALL_GUESTS:
        return pytest.mark.vm_guest
    line, mode = GUESTS[number % len(GUESTS)]
    lines = (line,) if number // len(GUESTS) % _SHARE == 0 or takes_a_guest(file) else ()
    return pytest.mark.vm_guest(lines=lines, modes=(mode,))


def takes_a_guest(file: Path) -> bool:
    """Whether the machine itself may lack what a scenario needs, or should not do it."""
    text = file.read_text(encoding="utf-8")
    return any(word in text for word in ("\nneeds:", "vlan:", "delay:", "loss:"))


@pytest.fixture(name="player", scope="module")
def fixture_player() -> Iterator[Player]:
    with Player(Manner()) as player:
        yield player


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
