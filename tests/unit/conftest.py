"""A control server for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_play import MakePlay, Play
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.control_questions import Source


@pytest.fixture(name="make")
def fixture_make(tmp_path: Path) -> Iterator[MakePlay]:
    plays: list[Play] = []

    def make(limits: ControlLimits | None = None, source: Source | None = None) -> Play:
        plays.append(Play(tmp_path, limits, source))
        return plays[-1]

    yield make
    for play in plays:
        play.close()


@pytest.fixture(name="play")
def fixture_play(make: MakePlay) -> Play:
    return make()
