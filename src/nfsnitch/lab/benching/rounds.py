"""Rounds in which each contender has its turn, there and back again, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nfsnitch.lab.benching import machine
from nfsnitch.lab.benching.amounts import Amounts
from nfsnitch.lab.benching.cases import CACHED, Case, Phase, all_cases
from nfsnitch.lab.benching.figures import Figures, medians
from nfsnitch.lab.benching.measuring import measure, measure_idle
from nfsnitch.lab.benching.result import Measured, Result
from nfsnitch.lab.benching.side_by_side import tcp_mbit_s
from nfsnitch.lab.benching.site import built
from nfsnitch.lab.waiting import LabError

Say = Callable[[str], None]


@dataclass(slots=True)
class _Turns:
    """What came of one contender's."""

    case: Case
    rounds: list[Figures] = field(default_factory=list)
    problem: str = ""


def run(amounts: Amounts, say: Say, cases: Sequence[Case] = ()) -> Result:
    """Measure all of *cases*, all there are without any; *say* gets a line for each turn.

    A contender that cannot be had is left out, and the result says why.

    Raises:
        LabError: nothing can be measured here, or somebody's connections fail.

    """
    turns = [_Turns(case) for case in cases or all_cases(amounts)]
    began_s = time.monotonic()
    done = 0
    while done < amounts.rounds:
        round_began_s = time.monotonic()
        # There and back: what gets slower with time hits all alike.
        for each in turns[:: 1 if done % 2 == 0 else -1]:
            _turn(each, amounts, done, say)
        done += 1
        now_s = time.monotonic()
        if now_s + (now_s - round_began_s) > began_s + amounts.budget_s:
            break
    _tcp(turns, amounts, say)
    _idle(turns, amounts, say)
    return Result(
        machine.described(emulated=machine.is_emulated()),
        time.strftime("%Y-%m-%d", time.gmtime()),
        done,
        round(time.monotonic() - began_s, 1),
        {
            each.case.name: Measured(
                each.case.title, medians(each.rounds), tuple(each.rounds), each.problem
            )
            for each in turns
        },
    )


def _turn(turns: _Turns, amounts: Amounts, done: int, say: Say) -> None:
    case, most = turns.case, turns.case.most_rounds
    if turns.problem or (most is not None and len(turns.rounds) >= most):
        return
    began_s = time.monotonic()
    with built(amounts) as site:
        try:
            turns.rounds.append(measure(site, case))
        except (LabError, OSError) as problem:
            turns.problem = str(problem)
    took_s = time.monotonic() - began_s
    outcome = f"could not be measured: {turns.problem}" if turns.problem else f"{took_s:.1f} s"
    say(f"round {done + 1} of at most {amounts.rounds}: {case.title}: {outcome}")


def _tcp(turns: Sequence[_Turns], amounts: Amounts, say: Say) -> None:
    """Add it to the first round of each; if it cannot be measured of one, nobody has it."""
    streaming = [each for each in turns if Phase.STREAMS in each.case.phases and each.rounds]
    if not streaming:
        return
    say(f"TCP of {len(streaming)} contenders side by side")
    try:
        found = tcp_mbit_s([each.case for each in streaming], amounts)
    except (LabError, OSError) as problem:
        say(f"could not be measured: {problem}")
        for each in streaming:
            each.problem = f"TCP: {problem}"
        return
    for each in streaming:
        each.rounds[0]["tcp_mbit_s"] = found[each.case.name]


def _idle(turns: Sequence[_Turns], amounts: Amounts, say: Say) -> None:
    for each in turns:
        if each.case.name == CACHED and each.rounds:
            say(f"{each.case.title}: left alone for {amounts.idle_s:g} s")
            with built(amounts) as site:
                each.rounds[0] |= measure_idle(site, each.case)
