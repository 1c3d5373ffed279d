"""Plays the corpus to mutants, each until one scenario has found it out."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from lab.mutants.mutant import CORPUS, Mutant
from nfsnitch.lab.firewall import DAEMON
from nfsnitch.lab.scenario import daemon
from nfsnitch.lab.scenario.model import (
    Answer,
    ExpectArrived,
    ExpectCounter,
    ExpectEnd,
    ExpectRecord,
    Scenario,
    Step,
)
from nfsnitch.lab.scenario.outcomes import Outcome, Result
from nfsnitch.lab.scenario.playing import Manner, Player
from nfsnitch.lab.scenario.reading import load

LAUNCHER = Path(__file__).with_name("launcher.py")
_PATIENCE_NS = 3_000_000_000
"""What has not come by then, when a daemon is sound, has failed to: all that is sound passes."""
_SETTLE_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1
_END_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a mutant."""

    mutant: str
    caught_by: str = ""
    """The scenario's name; empty: it survived."""
    how: str = ""
    """What the scenario expected, and saw instead; of a survivor, how the last one went."""
    seconds: float = 0.0


class Judge:
    """Plays scenarios to one daemon after the other; those with one network share it."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._sound: dict[str, Outcome] = {}

    def judged(self, mutant: Mutant, others: Sequence[str] = ()) -> Judgement:
        """Play to a mutant the scenarios that it names, then *others*, until one fails.

        One that a sound daemon fails as well finds nothing out.
        """
        began_s = time.monotonic()
        how = "there is no scenario to find it out"
        for name in dict.fromkeys([*mutant.scenarios, *others]):
            self._player.use_daemon((sys.executable, str(LAUNCHER), mutant.name))
            outcome = self._player.play(scenario(name))
            how = _told(outcome)
            if outcome.result is Result.FAILED:
                sound = self.sound(name)
                if sound.result is Result.PASSED:
                    return Judgement(mutant.name, name, how, time.monotonic() - began_s)
                how = f"a sound daemon does not pass {name} either: {_told(sound)}"
        return Judgement(mutant.name, "", how, time.monotonic() - began_s)

    def sound(self, name: str) -> Outcome:
        """Return how a scenario goes without any fault."""
        if name not in self._sound:
            self._player.use_daemon(DAEMON)
            self._sound[name] = self._player.play(scenario(name))
        return self._sound[name]


def scenario(name: str) -> Scenario:
    """Return a scenario of the corpus by its name, with little patience.

    Raises:
        RuleFileError: there is none, or something is wrong with it.

    """
    loaded = load(CORPUS / f"{name}.yaml")
    return replace(loaded, steps=tuple(map(_impatient, loaded.steps)))


def all_scenarios() -> list[str]:
    """Return the names of all in the corpus."""
    files = sorted(CORPUS.rglob("*.yaml"))
    return [str(each.relative_to(CORPUS).with_suffix("")) for each in files]


def judge_all(
    mutants: Sequence[Mutant], jobs: int, others: Sequence[str], tell: Callable[[Judgement], None]
) -> list[Judgement]:
    """Judge all *mutants*, in *jobs* processes at once; *tell* is called with each judgement.

    What ends this process by an exception takes down all that was built.
    """
    judgements: list[Judgement] = []
    workers: dict[object, multiprocessing.process.BaseProcess] = {}
    connections: list[Connection] = []
    shared_networks = sorted(mutants, key=_network)
    try:
        for number in range(jobs):
            process, connection = _started(shared_networks[number::jobs], others)
            workers[connection] = process
            connections.append(connection)
        while connections:
            for connection in [each for each in wait(connections) if isinstance(each, Connection)]:
                try:
                    judgements.append(connection.recv())
                except EOFError:
                    connections.remove(connection)
                    continue
                tell(judgements[-1])
    finally:
        for process in workers.values():
            if connections:
                process.terminate()
            process.join(_END_TIMEOUT_S)
    judged = {each.mutant for each in judgements}
    lost = [Judgement(each.name, how="no one judged it") for each in mutants]
    return judgements + [each for each in lost if each.mutant not in judged]


def _started(
    mutants: Sequence[Mutant], others: Sequence[str]
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(mutants, others, theirs))
    process.start()
    theirs.close()
    return process, ours


def _work(mutants: Sequence[Mutant], others: Sequence[str], connection: Connection) -> None:
    """Be a worker: judge *mutants* and send what became of them."""
    # Also where the one who started it is killed: networks are to be taken down.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    daemon.SETTLE_TIMEOUT_S = _SETTLE_TIMEOUT_S
    with (
        suppress(KeyboardInterrupt, BrokenPipeError),
        tempfile.TemporaryDirectory() as captures,
        Player(Manner(keep=Path(captures))) as player,
    ):
        judge = Judge(player)
        for name in dict.fromkeys(name for each in mutants for name in each.scenarios[:1]):
            judge.sound(name)  # one after the other, while there is a sound daemon
        for each in mutants:
            connection.send(judge.judged(each, others))


def _network(mutant: Mutant) -> str:
    return repr([scenario(name).network for name in mutant.scenarios[:1]])


def _impatient(step: Step) -> Step:
    if isinstance(step, ExpectRecord | ExpectArrived | ExpectCounter | ExpectEnd | Answer):
        return replace(step, within_ns=min(step.within_ns, _PATIENCE_NS))
    return step


def _told(outcome: Outcome) -> str:
    if not outcome.failures:
        return f"{outcome.result}{f': {outcome.why}' if outcome.why else ''}"
    first = outcome.failures[0]
    seen = first.seen.splitlines()
    return f"{outcome.result}: expected {first.expected}; seen: {seen[0] if seen else 'nothing'}"
