"""What plays of the engine have in common: rules, and a look at what came out."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass

from nfsnitch.core.case import Case
from nfsnitch.core.commands import Command, Count, GiveVerdict, WriteRecord
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.owner import Process
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown

ASK_S = 10
NOBODY = Unknown("for the test")


@dataclass(frozen=True)
class ToPort:
    """A condition for tests: the destination port."""

    port: int
    field: str = "dport"

    def matches(self, case: Case) -> bool:
        """Whether the flow goes there."""
        return case.flow.dport == self.port


@dataclass(frozen=True)
class ByProgram:
    """A condition for tests: the program."""

    path: str
    field: str = "exe"

    def matches(self, case: Case) -> bool:
        """Whether this program sends it."""
        return isinstance(case.owner, Process) and case.owner.exe.path == self.path


RULES = Ruleset(
    rules=(
        Rule("web", Action.ALLOW, (ToPort(80),), "test:1"),
        Rule("tracker", Action.DENY, (ToPort(81),), "test:2"),
        Rule("telnet", Action.REJECT, (ToPort(23),), "test:3"),
        Rule("shell", Action.ASK, (ToPort(22),), "test:4"),
    ),
    default=Action.ASK,
    unattributed=Action.DENY,
    unanswered=Action.REJECT,
    ask_timeout_ns=ASK_S * 1_000_000_000,
)


def new_engine(ruleset: Ruleset = RULES) -> Engine:
    """Return an engine with these rules."""
    return Engine(ruleset, netns=1)


def verdicts(commands: list[Command]) -> dict[int, Verdict]:
    """Return the verdicts given, by packet."""
    return {each.packet_id: each.verdict for each in commands if isinstance(each, GiveVerdict)}


def records(commands: list[Command]) -> list[Record]:
    """Return the records written."""
    return [each.record for each in commands if isinstance(each, WriteRecord)]


def counts(commands: list[Command]) -> dict[Counter, int]:
    """Return what was counted."""
    tally: Tally[Counter] = Tally()
    for each in commands:
        if isinstance(each, Count):
            tally[each.counter] += each.amount
    return dict(tally)
