"""Plays scenarios: on a stage that they share, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.firewall import DAEMON
from nfsnitch.lab.scenario import failure, invariants, needs
from nfsnitch.lab.scenario.daemon import RulesRefusedError, UnsettledError
from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.outcomes import Failure, Outcome, Result, UnmetError
from nfsnitch.lab.scenario.scene import Scene, folder_name
from nfsnitch.lab.scenario.stage import Stage
from nfsnitch.lab.scenario.steps import do
from nfsnitch.lab.scenario.words import step_text
from nfsnitch.lab.waiting import LabError


@dataclass(frozen=True, slots=True)
class Manner:
    """How scenarios are played."""

    attach: AttachMode | None = None
    """None: as the environment says, else the best there is."""
    keep: Path | None = None
    """Where the folders of failed scenarios are made; None: below that for temporary files."""
    fresh: bool = False
    """Each scenario gets a network and a daemon of its own."""
    daemon: Sequence[str] = DAEMON
    """The command whose ``run`` is the daemon."""


class Player:
    """Plays scenarios that have the same network; a `with` block takes down what it has built."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._stack = ExitStack()
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        """Return itself; the network is built when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the stage down."""
        self.clear()

    @property
    def stage(self) -> Stage | None:
        """Return the stage with all that was seen on it last; None if it has been taken down."""
        return self._stage

    def clear(self) -> None:
        """Take the stage down; the next scenario gets another one."""
        self._stage = None
        self._stack.close()

    def use_daemon(self, command: Sequence[str]) -> None:
        """Have another daemon decide from the next scenario on, in the same network."""
        self._manner = replace(self._manner, daemon=command)
        if self._stage is not None:
            self._stage.daemon.command = command
            self._stage.daemon.is_spoilt = True

    def play(self, scenario: Scenario) -> Outcome:
        """Play one scenario; nothing that happens to it is raised but what ends the program."""
        began_s = time.monotonic()
        why = needs.missing(scenario, self._manner.attach)
        if why is not None:
            return Outcome(scenario.file, scenario.shows, Result.SKIPPED, why=why)
        wants_fresh = scenario.fresh or self._manner.fresh
        if wants_fresh or (self._stage is not None and self._stage.network != scenario.network):
            self.clear()
        try:
            found, folder = self._played(scenario)
        except (LabError, OSError) as error:
            found, folder = [_broken(scenario.file, "the network", error)], None
        result = _result(found)
        if result is Result.BROKEN or wants_fresh:
            self.clear()
        elif result is Result.FAILED and self._stage is not None:
            self._stage.daemon.is_spoilt = True
        failures = tuple(each for each, _ in found)
        seconds = time.monotonic() - began_s
        place = str(folder) if folder is not None else ""
        return Outcome(scenario.file, scenario.shows, result, seconds, failures, folder=place)

    def _played(self, scenario: Scenario) -> tuple[list[_Found], Path | None]:
        if self._stage is None:
            self._stage = self._stack.enter_context(Stage(scenario.network, self._manner.attach))
            self._stage.daemon.command = self._manner.daemon
        stage = self._stage
        scene = Scene(stage, scenario, stage.new_folder(folder_name(scenario)))
        found: list[_Found] = []
        folder: Path | None = None
        try:
            found += _begun(scene) or _acted(scene)
            if found:
                folder = failure.keep(scene, [each for each, _ in found], self._manner.keep)
        finally:
            scene.close()
        return found, folder


_Found = tuple[Failure, Result]


def _begun(scene: Scene) -> list[_Found]:
    """Put the scenario's rules in force; return why that did not work."""
    scenario = scene.scenario
    try:
        scene.stage.begin(scenario, scene.text(scenario.rules))
    except RulesRefusedError as error:
        found = Failure(scenario.file, "its rules", "rules that can be used", str(error))
        return [(found, Result.BROKEN)]
    except LabError as error:
        return [_broken(scenario.file, "the firewall", error)]
    return []


def _acted(scene: Scene) -> list[_Found]:
    """Do all steps up to the first that fails, then look at what holds always."""
    for step in scene.scenario.steps:
        try:
            do(scene, step)
        except UnmetError as unmet:
            found = Failure(str(step.position), step_text(step), unmet.expected, unmet.seen)
            return [(found, Result.FAILED)]
        except UnsettledError as error:
            return [_unsettled(str(step.position), step_text(step), error)]
        except (LabError, OSError) as error:
            return [_broken(str(step.position), step_text(step), error)]
    try:
        return [
            (
                Failure(scene.scenario.file, "what holds always", each.expected, each.seen),
                Result.FAILED,
            )
            for each in _not_held(scene)
        ]
    except UnsettledError as error:
        return [_unsettled(scene.scenario.file, "what holds always", error)]
    except LabError as error:
        return [_broken(scene.scenario.file, "what holds always", error)]


def _not_held(scene: Scene) -> Iterator[UnmetError]:
    daemon = scene.stage.daemon
    if not daemon.is_on:
        if daemon.is_wanted and not daemon.is_paused:
            yield invariants.ended(daemon.firewall.child)
        return
    status = scene.stage.settle() or daemon.status()
    grown = daemon.growth.of(status.counters)
    yield from invariants.broken(scene.scenario, status, grown, daemon.unrecorded(status))


def _unsettled(place: str, step: str, error: UnsettledError) -> _Found:
    expected = "each packet that is queued to be decided"
    return Failure(place, step, expected, str(error)), Result.FAILED


def _broken(place: str, step: str, error: Exception) -> _Found:
    return Failure(place, step, "it to be done", str(error)), Result.BROKEN


def _result(found: Sequence[_Found]) -> Result:
    results = {result for _, result in found}
    if Result.BROKEN in results:
        return Result.BROKEN
    return Result.FAILED if results else Result.PASSED
