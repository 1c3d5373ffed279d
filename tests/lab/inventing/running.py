"""Plays inventions to the firewall, and brings what it does wrong down to the least."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from lab.inventing.checking import broken
from lab.inventing.composing import scenario_of
from lab.inventing.inventions import Invention, inventions
from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.outcomes import Result
from nfsnitch.lab.scenario.playing import Player
from nfsnitch.lab.scenario.writing import as_yaml

_PHASES = (Phase.generate, Phase.shrink)
_SHRINK_S = 60.0
"""How long something smaller is looked for that fails, too."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that does not hold, in the least example that was found."""

    scenario: Scenario
    why: str

    def write(self, folder: Path, number: int) -> Path:
        """Write it as a scenario file that ``nfsnitch lab run`` repeats; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"invented-{number}.yaml"
        path.write_text(as_yaml(self.scenario), encoding="utf-8")
        return path


class _NotHeldError(Exception):
    """An example has shown that something does not hold."""


def new_seed() -> int:
    """Return a seed that nobody has chosen."""
    return random.SystemRandom().randrange(1 << 32)


def search(
    player: Player, number: int, examples: int, tell: Callable[[str], None] = lambda _: None
) -> Found | None:
    """Play so many *examples*, which *number* decides; return what does not hold, or None.

    *tell* is called with a line on each.
    """
    last: list[Found] = []
    played = 0
    ends_s = math.inf

    @settings(
        max_examples=examples,
        phases=_PHASES,
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @seed(number)
    @given(inventions())
    def holds(invention: Invention) -> None:
        nonlocal played, ends_s
        if time.monotonic() > ends_s:
            return  # small enough
        played += 1
        shows = f"Invented: seed {number}, example {played}."
        scenario = scenario_of(invention, shows, played)
        why = problem_of(player, invention, scenario)
        tell(f"{played} {'holds' if why is None else why}")
        if why is not None:
            ends_s = min(ends_s, time.monotonic() + _SHRINK_S)
            last.append(Found(scenario, why))
            raise _NotHeldError(why)

    try:
        holds()
    except Exception:
        # Of an example that fails now and then hypothesis says so; here it is enough that it did.
        if not last:
            raise
    return last[-1] if last else None


def problem_of(player: Player, invention: Invention, scenario: Scenario) -> str | None:
    """Play one example; return what does not hold, None if all does.

    Raises:
        RuntimeError: it could not be played at all.

    """
    outcome = player.play(scenario)
    if outcome.result is Result.BROKEN:
        raise RuntimeError(f"the example cannot be played: {outcome.failures}")
    if outcome.failures:
        first = outcome.failures[0]
        return f"{first.step}: expected {first.expected}; seen: {first.seen}"
    stage = player.stage
    return None if stage is None else next(broken(invention, stage), None)
