"""Scenarios shared out: those with one network together, groups to several processes."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.outcomes import Failure, Outcome, Result
from nfsnitch.lab.scenario.playing import Manner, Player

_PR_SET_PDEATHSIG = 1
_END_TIMEOUT_S = 60.0
"""A worker that is told to end takes its networks down first."""

Batch = Sequence[Scenario]
Tell = Callable[[Outcome], None]


def play(scenarios: Batch, manner: Manner, jobs: int, tell: Tell) -> list[Outcome]:
    """Play all scenarios, in up to *jobs* processes, and return their outcomes in that order.

    *tell* is called with each outcome as it is there. What ends this process by an exception takes
    down all that was built.
    """
    batches = shared_out(scenarios, jobs)
    outcomes: dict[int, Outcome] = {}
    places = {id(each): place for place, each in enumerate(scenarios)}
    played = _play_here(batches, manner) if jobs == 1 else _play_there(batches, manner, jobs)
    for scenario, outcome in played:
        outcomes[places[id(scenario)]] = outcome
        tell(outcome)
    return [outcomes[place] for place in sorted(outcomes)]


def shared_out(scenarios: Batch, jobs: int) -> list[Batch]:
    """Return groups with one network each, the large ones in as many parts as there are *jobs*.

    In each, those that wear the daemon out come last.
    """
    groups: dict[str, list[Scenario]] = {}
    for each in scenarios:
        groups.setdefault(repr(each.network), []).append(each)
    batches: list[Batch] = []
    for group in groups.values():
        group.sort(key=lambda each: (each.fresh, each.options))
        size = math.ceil(len(group) / jobs)
        batches += [group[start : start + size] for start in range(0, len(group), size)]
    return sorted(batches, key=len, reverse=True)


def _play_here(batches: Sequence[Batch], manner: Manner) -> Iterator[tuple[Scenario, Outcome]]:
    with Player(manner) as player:
        for batch in batches:
            for scenario in batch:
                yield scenario, player.play(scenario)


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    connection: Connection
    batch: Batch
    played: list[Outcome]


def _play_there(
    batches: Sequence[Batch], manner: Manner, jobs: int
) -> Iterator[tuple[Scenario, Outcome]]:
    left = deque(batches)
    workers: list[_Worker] = []
    try:
        while left or workers:
            while left and len(workers) < jobs:
                workers.append(_started(left.popleft(), manner))
            ready = wait([each.connection for each in workers])
            for worker in [each for each in workers if each.connection in ready]:
                try:
                    outcome = worker.connection.recv()
                except EOFError:
                    workers.remove(worker)
                    worker.process.join(_END_TIMEOUT_S)
                    yield from _abandoned(worker)
                    continue
                scenario = worker.batch[len(worker.played)]
                worker.played.append(outcome)
                yield scenario, outcome
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_END_TIMEOUT_S)


def _started(batch: Batch, manner: Manner) -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(batch, manner, theirs))
    process.start()
    theirs.close()
    return _Worker(process, ours, batch, [])


def _abandoned(worker: _Worker) -> Iterator[tuple[Scenario, Outcome]]:
    """Yield an outcome for each scenario that a worker has not played; usually there is none."""
    for scenario in worker.batch[len(worker.played) :]:
        seen = f"it ended with status {worker.process.exitcode}"
        found = Failure(scenario.file, "the process that plays it", "it to go on", seen)
        yield scenario, Outcome(scenario.file, scenario.shows, Result.BROKEN, failures=(found,))


def _work(batch: Batch, manner: Manner, connection: Connection) -> None:
    """Be a worker: play *batch* and send the outcomes."""
    # Also where the one who started it is killed: networks are to be taken down.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(KeyboardInterrupt, BrokenPipeError), Player(manner) as player:
        for scenario in batch:
            connection.send(player.play(scenario))
