"""What a scenario file says, once it has been read (docs/lab.md describes the file).

Everything is as the file has it, checked but not yet done: no address is assigned and no packet
built before `stage` does it. Times are in nanoseconds, wherever the file's text has a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nfsnitch.adapters.rulefile.problems import Position


class Side(StrEnum):
    """At which of its wires' ends a host is when it sends a frame."""

    IP = "ip"
    """Through a raw socket: the host's own output hooks and routes see the packet."""
    FRAME = "frame"
    """As a frame on the wire: as if it came from the network."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a host."""

    to: str
    """Network in CIDR notation, or ``default``."""
    via: str
    """The gateway's address."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a wire."""

    host: str
    name: str
    """As the host calls it, such as ``eth0``."""
    addresses: tuple[str, ...] = ()
    """In CIDR notation, either family."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A veth pair between two hosts, as bad as `netem` makes it (tc-netem(8)); both ways alike."""

    name: str
    ends: tuple[Interface, Interface]
    mtu: int = 1500
    delay_ns: int = 0
    loss: float = 0.0
    """Per cent."""
    vlan: int | None = None
    """Both ends have their addresses on a VLAN of this id (802.1Q), called ``NAME.ID``."""


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace."""

    name: str
    routes: tuple[Route, ...] = ()
    forwards: bool = False
    masquerades: str | None = None
    """Interface on which what leaves gets this host's address (source NAT)."""
    services: tuple[str, ...] = ()
    """Of `SERVICES`."""
    sysctls: Mapping[str, str] = field(default_factory=dict)


SERVICES = ("echo", "http", "dns")
"""What hosts can serve: TCP and UDP on ports 7 (echo) and 9 (sink); HTTP on 80; DNS on 53."""


@dataclass(frozen=True, slots=True)
class Network:
    """Hosts and wires. `client` is always there, and has the firewall in it."""

    hosts: tuple[Host, ...]
    wires: tuple[Wire, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A program's own copy: to the firewall it is no other's."""

    name: str
    """By which steps and expectations call it: ``$name`` is its path."""
    binary: str
    """What is copied: a name in PATH or a path."""
    path: str | None = None
    """Where to, below the scenario's own folder; None: the name."""


@dataclass(frozen=True, slots=True)
class Run:
    """Start a program in the client (or on another host), as a firewall sees real programs."""

    position: Position
    program: str
    """``$NAME`` of `Program`, or what PATH has."""
    args: tuple[str, ...] = ()
    name: str = ""
    """By which later steps and expectations call it; the program's name unless the file says so."""
    host: str = "client"
    uid: int | None = None
    gid: int | None = None
    cgroup: str | None = None
    """A cgroup of its own below that of the client's programs."""
    parents: tuple[str, ...] = ()
    """Programs that start each other, the farthest first, the last of them starting this one."""
    stdin: str = ""
    background: bool = False
    """Go on with the next step while it runs."""
    within_ns: int = 20_000_000_000


@dataclass(frozen=True, slots=True)
class Send:
    """Send packets, as they are written."""

    position: Position
    packets: tuple[Layers, ...]
    host: str = "client"
    side: Side = Side.IP
    interface: str | None = None
    """Of frames: None is the host's first."""
    program: str | None = None
    """On the client, whose packets they are: ``$NAME`` of a `Program` that is a Python (see
    docs/lab.md); None: the lab's own sender."""
    name: str = ""
    count: int = 1
    """How often all of them are sent, one after the other."""
    every_ns: int = 0
    within_ns: int = 20_000_000_000


@dataclass(frozen=True, slots=True)
class Layers:
    """A packet: layers by their names in scapy, each with its fields, the outermost first."""

    position: Position
    layers: tuple[tuple[str, Mapping[str, Any]], ...]
    fragment_bytes: int | None = None
    """Sent in fragments of at most so many bytes of payload."""
    order: tuple[int, ...] = ()
    """In which order its fragments are sent, by their numbers from 0; some may be missing or
    come twice. Empty: as they are."""
    truncate_bytes: int | None = None
    """Only so many of its first bytes are sent."""
    prefix: bytes = b""
    """Raw bytes in the place of layers, or before them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a question, as a prompter would."""

    position: Position
    question: Mapping[str, Any]
    """Fields of the question's flow or owner, as in records."""
    action: str = "allow"
    who: str = "program"
    where: str = "address-port"
    duration: str = "once"
    within_ns: int = 10_000_000_000


@dataclass(frozen=True, slots=True)
class NewRules:
    """Put other rules in force."""

    position: Position
    text: str
    is_refused: bool = False
    """They are wrong, and the ones before are to stay in force."""


class FirewallDeed(StrEnum):
    """What is done to the daemon."""

    STOP = "stop"
    KILL = "kill"
    START = "start"
    RESTART = "restart"
    PAUSE = "pause"
    """SIGSTOP, as if the machine were suspended or too busy."""
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Daemon:
    """Do something to the daemon, and wait until it is done."""

    position: Position
    deed: FirewallDeed


@dataclass(frozen=True, slots=True)
class Command:
    """Run a command on a host, beside the firewall: its packets are nobody's business."""

    position: Position
    host: str
    argv: tuple[str, ...]
    status: int = 0
    """What it has to end with."""


@dataclass(frozen=True, slots=True)
class ClockJump:
    """Set the machine's wall clock (only where the scenario has a machine of its own)."""

    position: Position
    by_ns: int


@dataclass(frozen=True, slots=True)
class ExpectRecord:
    """So many records have these values."""

    position: Position
    fields: Mapping[str, Any]
    """By the names in records; a dotted name looks into mappings, ``parents.0.exe``."""
    count: Range
    within_ns: int


@dataclass(frozen=True, slots=True)
class ExpectArrived:
    """So many packets like this one have come to a host."""

    position: Position
    host: str
    interface: str | None
    packet: Mapping[str, Mapping[str, Any]]
    """Layer (its name in scapy) → fields that it has."""
    count: Range
    within_ns: int
    sent: bool = False
    """Those that left the host, in the place of those that came."""


@dataclass(frozen=True, slots=True)
class ExpectCounter:
    """A counter of ``nfsnitch status`` has grown by so much since the scenario began."""

    position: Position
    name: str
    count: Range
    within_ns: int


@dataclass(frozen=True, slots=True)
class ExpectEnd:
    """A program has ended like this."""

    position: Position
    run: str
    status: Range | None
    stdout: str | None
    """A part of it."""
    stderr: str | None
    within_ns: int


@dataclass(frozen=True, slots=True)
class Range:
    """An inclusive range of numbers: in the file ``3``, ``'>= 3'``, ``'<= 3'`` or ``'3..5'``."""

    least: float
    most: float
    text: str
    """As the file has it."""

    def __contains__(self, number: float) -> bool:
        """Tell whether *number* lies in it."""
        return self.least <= number <= self.most


Expectation = ExpectRecord | ExpectArrived | ExpectCounter | ExpectEnd
Step = Run | Send | Answer | NewRules | Daemon | Command | ClockJump | Expectation


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file."""

    file: str
    """Its path as given, fit to be shown."""
    shows: str
    """One sentence."""
    network: Network
    rules: str
    """The text of a rule file; ``$NAME`` in it has become nothing yet."""
    programs: tuple[Program, ...]
    files: Mapping[str, str]
    """Name below the scenario's folder (``$NAME`` for rules and arguments) → content."""
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    """Of `NEEDS`: where one is not met, the scenario is skipped, and says why."""
    options: tuple[str, ...] = ()
    """Given to ``nfsnitch run`` besides; with any, the daemon is started for this scenario."""
    fresh: bool = False
    """It wants a network and a daemon that no scenario has used before."""
    lets_by: tuple[str, ...] = ()
    """Counters of packets that were not evaluated (``bypassed``, ``caught``, ...) that it expects
    to grow; any other one's growth is a failure."""


NEEDS = (
    *("own-machine", "nft-queue", "probes", "sctp", "conntrack-accounting"),
    *("netem", "vlan", "masquerade"),
)
"""``own-machine``: clock and modules may be changed (in a guest); ``nft-queue``: nft's own queue;
``probes``: attach mode lsm or kprobe; ``sctp``: the kernel's SCTP. ``netem`` (delay and loss),
``vlan`` and ``masquerade`` are what networks need: `wiring.needs_of` knows it of each, and
`network.lacking` whether the kernel has it."""
