"""What is put to the rules, and what they say of it."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.events import FlowArrived, MalformedArrived, PacketFailed
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import Owner
from nfsnitch.core.packet import Malformed
from nfsnitch.core.unknown import Unknown

SKIPPED = "skip"
"""Stands in place of an action where packets are not judged at all (``loopback: skip``)."""
UNDECIDED = "undecided"
"""Stands there where what there is does not suffice for a decision."""
ACTIONS = ("allow", "deny", "reject", "ask", SKIPPED, UNDECIDED)
"""All that may stand there, in the order in which they are told."""


class BadInputError(Exception):
    """What is to be replayed cannot be used; the message says why, fit for a terminal."""


class Outcome(NamedTuple):
    """What became of a flow, or would become of it."""

    action: str
    """One of `ACTIONS`."""
    reason: str
    """As in records (`core.decision.Reason`)."""
    rule: str | None
    entry: str | None = None
    """What is on the line of a list by which the rule matched."""
    verdict: str | None = None
    """What the kernel was told; of recorded decisions alone."""


class Put(NamedTuple):
    """One packet as the engine gets it, and what else is known of it."""

    number: int
    """Of its flow, in this replay."""
    event: FlowArrived | MalformedArrived | PacketFailed
    is_first: bool = True
    """It is the first one of its flow."""
    before: Outcome | None = None
    """What was recorded of it."""
    question: str | Malformed | None = None
    """The name that it asks a DNS server for, where it was recorded for that."""
    closes: bool = False
    """Its connection ended before it had any data."""
    is_own: bool = False
    """nfsnitch itself sent it, to fetch a list."""
    is_local: bool = False
    """From one address of this machine to another one."""


class NumberedFlow(Flow):
    """A flow that knows which one of this replay it is: records hand it on as it is.

    To everybody else it is equal to the plain one.
    """

    number: int = 0


def numbered(flow: Flow, number: int) -> NumberedFlow:
    """Return *flow* with its number."""
    made = NumberedFlow(*flow)
    made.number = number
    return made


class Row(NamedTuple):
    """A flow, and what became of it by all that was asked."""

    wall_ns: int
    flow: Flow | Unknown
    owner: Owner
    names: Names
    before: Outcome | None
    outcomes: tuple[Outcome, ...]
    """By the rules, and by the others if there are any."""
