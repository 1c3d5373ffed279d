"""Makes flows, owners and events for tests; what a test does not care about is filled in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nfsnitch.core.events import FlowArrived, Instant
from nfsnitch.core.flow import Family, Flow, Protocol, packed_address
from nfsnitch.core.owner import Ancestor, Attribution, Executable, Finding, Owner, Process
from nfsnitch.core.unknown import Unknown

WriteRules = Callable[[str], Path]
"""Writes a rule file and returns it."""

NS_PER_S = 1_000_000_000
WALL_NS = 1_800_000_000 * NS_PER_S


def instant(seconds: float = 0) -> Instant:
    """Return the moment so many seconds after the test began."""
    passed_ns = int(seconds * NS_PER_S)
    return Instant(NS_PER_S + passed_ns, WALL_NS + passed_ns)


def flow(daddr: str = "192.0.2.1", dport: int = 80, sport: int = 40_000) -> Flow:
    """Return a TCP flow from a documentation address."""
    family = Family.IPV6 if ":" in daddr else Family.IPV4
    saddr = "2001:db8::2" if family is Family.IPV6 else "192.0.2.2"
    return Flow(
        family, Protocol.TCP, packed_address(saddr), packed_address(daddr), sport, dport, None
    )


def executable(path: str) -> Executable:
    """Return an executable that was found without trouble."""
    return Executable(path, 65_024, 1_234)


def process(exe: str = "/usr/bin/curl", pid: int = 4_711) -> Process:
    """Return a process whose parent is a shell."""
    return Process(
        pid=pid,
        tid=pid,
        start_time_ns=5 * NS_PER_S,
        uid=1_000,
        gid=1_000,
        exe=executable(exe),
        args=(exe.rpartition("/")[2], "http://192.0.2.1/"),
        comm=exe.rpartition("/")[2][:15],
        parents=(Ancestor(4_700, 4 * NS_PER_S, executable("/usr/bin/bash")),),
        cgroup_id=77,
        cgroup="/user.slice",
        netns=4_026_531_840,
    )


def arrival(
    packet_id: int,
    *,
    seconds: float = 0,
    of_flow: Flow | None = None,
    owner: Owner | None = None,
    sock_cookie: int | Unknown = 1,
    rivals: tuple[Owner, ...] = (),
) -> FlowArrived:
    """Return the event of a packet that was parsed and attributed."""
    return FlowArrived(
        instant(seconds),
        packet_id,
        of_flow or flow(),
        Finding(owner or process(), Attribution.FLOW_MAP, sock_cookie, rivals),
        "eth0",
    )
