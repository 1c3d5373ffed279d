"""What happens to the engine. Time arrives in events; the engine has no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Finding
from nfsnitch.core.rule import Ruleset
from nfsnitch.core.unknown import Unknown

__all__ = [
    "Event",
    "FlowArrived",
    "Instant",
    "MalformedArrived",
    "PacketFailed",
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
class TimePassed:
    """The moment the engine had asked for with `commands.WakeAt` has come (or a later one)."""

    now: Instant


@dataclass(frozen=True, slots=True)
class RulesetChanged:
    """Another ruleset is in force from here on; flows held already keep their deadline."""

    now: Instant
    ruleset: Ruleset


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon stops: everything held gets its verdict now, and nothing is held any more."""

    now: Instant


Event = (
    FlowArrived
    | MalformedArrived
    | PacketFailed
    | SocketClosed
    | TimePassed
    | RulesetChanged
    | Stopping
)
