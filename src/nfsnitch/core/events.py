"""What happens to the engine. Time arrives in events; the engine has no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nfsnitch.core.answer import Answer
from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import Flow
from nfsnitch.core.identity import Identity
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Finding
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.segment import Segment
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Mode

__all__ = [
    "Answered",
    "Event",
    "FlowArrived",
    "FlowCached",
    "Instant",
    "MalformedArrived",
    "ModeSet",
    "PacketFailed",
    "ProgramIdentified",
    "RulesetChanged",
    "SocketClosed",
    "Stopping",
    "TimePassed",
]


class FlowArrived(NamedTuple):
    """The kernel queued a packet; it was parsed and its owner looked up."""

    now: Instant
    packet_id: int
    """The kernel's number for the queued packet, unique until it has its verdict."""
    flow: Flow
    found: Finding
    iface: str | Unknown
    """The interface through which the packet would leave."""
    segment: Segment | None = None
    """What it carries; None: it is neither TCP nor UDP, or nobody wants to know."""


class FlowCached(NamedTuple):
    """The kernel has given a flow a verdict by itself, as a `commands.CacheVerdict` had let it."""

    now: Instant
    """When it did so."""
    flow: Flow
    found: Finding
    iface: str | Unknown
    decision: Decision
    generation: int
    """Of the rules that had made it; 0: those of a daemon before."""


class MalformedArrived(NamedTuple):
    """The kernel queued a packet whose headers could not be read."""

    now: Instant
    packet_id: int
    problem: str
    iface: str | Unknown


class PacketFailed(NamedTuple):
    """Handling a queued packet raised: it has no owner and perhaps no flow."""

    now: Instant
    packet_id: int
    problem: str
    iface: str | Unknown


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """A socket is closed; whoever gets its address and port next is somebody else."""

    now: Instant
    sock_cookie: int


@dataclass(frozen=True, slots=True)
class ProgramIdentified:
    """What was pending of a program (`Identity.ticket`) is known, or known not to be known."""

    now: Instant
    ticket: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The moment the engine had asked for with `commands.WakeAt` has come (or a later one)."""

    now: Instant


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody has answered a question, for the flows that wait for it and for no others.

    What holds for longer is a rule, and comes with `RulesetChanged`.
    """

    now: Instant
    question: int
    """`commands.ShowQuestion` gave it its number."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class ModeSet:
    """Somebody has said that people are to be asked, or not."""

    now: Instant
    mode: Mode
    until_ns: int | None
    """When it is to be `Mode.ASK` again (monotonic)."""


@dataclass(frozen=True, slots=True)
class RulesetChanged:
    """The rules say something else from here on: others are in force, or their time has come.

    Flows that are held are decided anew; those that go on being held keep their deadline.
    """

    now: Instant
    ruleset: Ruleset
    generation: int
    """One more than before with each reload; the same where only time has passed."""


class LiveFlow(NamedTuple):
    """A flow that is under way, as the kernel's tables have it."""

    flow: Flow
    found: Finding | None
    """Who has the socket; None if nobody has it any more."""
    iface: str | Unknown
    """The interface through which its packets leave."""
    labelled: bool
    """Its packets pass in the kernel, by the label that `commands.TrustFlow` gives."""
    is_cut: bool
    """It was cut before, and its packets are refused one by one."""
    entry: bytes
    """What the kernel's table of flows calls it; for commands."""
    awaits_name: bool = False
    """It was let out for as long as it has no data (`decision.Verdict.PEEK`)."""
    is_forwarded: bool = False
    """No socket of ours sends it: it passes through this network namespace."""


class FlowReviewed(NamedTuple):
    """A flow is under way that was let pass before the rules came to say what they say now."""

    now: Instant
    live: LiveFlow


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon stops: everything held gets its verdict now, and nothing is held any more."""

    now: Instant


Event = (
    FlowArrived
    | MalformedArrived
    | PacketFailed
    | SocketClosed
    | ProgramIdentified
    | TimePassed
    | Answered
    | ModeSet
    | RulesetChanged
    | FlowReviewed
    | Stopping
)
