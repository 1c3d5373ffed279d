"""The contenders, each with what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from nfsnitch.lab.benching.amounts import Amounts
from nfsnitch.lab.benching.contenders import (
    Nfsnitch,
    Start,
    c_worker,
    nobody,
    python_worker,
    tracking,
)

NONE, C_WORKER, PYTHON_WORKER, NFSNITCH = "none", "c-worker", "python-worker", "nfsnitch"
TRACKING = "tracking"
"""No firewall either, but connection tracking, without which nobody knows what a new flow is."""
CACHED = "nfsnitch-cached"
"""Started as usual: the kernel repeats what was decided. The others have each flow queued."""
NEW = "nfsnitch-new"
"""The same where each connection goes to an address that was never seen before."""
OPENSNITCH = "opensnitch"
SOME_RULES, MANY_RULES = "nfsnitch-some-rules", "nfsnitch-many-rules"


class Phase(StrEnum):
    """What may be measured beside new connections."""

    STREAMS = "streams"
    """Throughput of established UDP, and of TCP, which `side_by_side` measures."""
    ONE_WAY = "one-way"
    """UDP without an answer."""
    RELOAD = "reload"


_EVERYTHING = frozenset(Phase)
BARE = frozenset({Phase.STREAMS, Phase.ONE_WAY})
"""Of those without rules to be read again."""


@dataclass(frozen=True, slots=True)
class Case:
    """One contender."""

    name: str
    title: str
    start: Start
    phases: frozenset[Phase] = frozenset()
    most_rounds: int | None = None
    """None: as many as there are."""
    to_others: bool = False
    """Whether each connection goes to another address."""


def all_cases(amounts: Amounts) -> list[Case]:
    """Return the contenders, in the order of the first round."""
    few, some, many = amounts.few_rules, amounts.some_rules, amounts.many_rules
    usual = Nfsnitch(few)
    reload = frozenset({Phase.RELOAD})
    return [
        Case(NONE, "no firewall", nobody, frozenset({Phase.STREAMS})),
        Case(TRACKING, "connection tracking alone", tracking, frozenset({Phase.STREAMS})),
        Case(C_WORKER, "C worker, accepts at once", c_worker, BARE),
        Case(PYTHON_WORKER, "Python worker, accepts at once", python_worker, BARE),
        Case(NFSNITCH, f"nfsnitch, {few:,} rules", usual, reload),
        Case(CACHED, "nfsnitch, decided before", replace(usual, cache=True), _EVERYTHING),
        Case(
            NEW,
            "nfsnitch, to a new address",
            replace(usual, cache=True, anywhere=True),
            to_others=True,
        ),
        Case(SOME_RULES, f"nfsnitch, {some:,} rules", replace(usual, rules=some), reload),
        Case(
            MANY_RULES,
            f"nfsnitch, {many:,} rules",
            replace(usual, rules=many),
            reload,
            amounts.many_rounds,
        ),
        Case(
            "nfsnitch-held",
            f"nfsnitch, {amounts.held:,} flows held",
            replace(usual, held=amounts.held),
        ),
        Case("nfsnitch-no-records", "nfsnitch, no records", replace(usual, records=False)),
        Case("nfsnitch-watched", "nfsnitch, 2 watchers", replace(usual, watchers=2)),
    ]
