"""Makes flows, owners and events for tests; what a test does not care about is filled in."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfsnitch.adapters import mounts, procfs
from nfsnitch.adapters.bpf.layout import (
    ARGS_BYTES,
    CGROUP_BYTES,
    EXE_BYTES,
    IMAGE,
    IMAGE_KEY,
    NAME_BYTES,
    OWNER,
    ImageFlag,
    OwnerFlag,
)
from nfsnitch.core.case import Case
from nfsnitch.core.events import FlowArrived, FlowReviewed, Instant, LiveFlow
from nfsnitch.core.flow import NO_PORTS, Family, Flow, Icmp, Protocol, packed_address
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


def datagrams(daddr: str = "192.0.2.1", dport: int = 53, sport: int = 40_000) -> Flow:
    """Return a UDP flow from a documentation address."""
    return flow(daddr, dport, sport)._replace(proto=Protocol.UDP)


def ping(icmp_type: int = 8) -> Flow:
    """Return a flow of ICMP messages with an identifier."""
    without_ports = flow()._replace(proto=Protocol.ICMP, sport=NO_PORTS, dport=NO_PORTS)
    return without_ports._replace(icmp=Icmp(icmp_type, 0, 4_660))


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


def arrival(  # noqa: PLR0913  a packet's event has so many parts
    packet_id: int,
    *,
    seconds: float = 0,
    of_flow: Flow | None = None,
    owner: Owner | None = None,
    sock_cookie: int | Unknown = 1,
    rivals: tuple[Owner, ...] = (),
    shares_port: bool = False,
    is_closed: bool = False,
) -> FlowArrived:
    """Return the event of a packet that was parsed and attributed."""
    return FlowArrived(
        instant(seconds),
        packet_id,
        of_flow or flow(),
        Finding(
            owner or process(), Attribution.FLOW_MAP, sock_cookie, rivals, shares_port, is_closed
        ),
        "eth0",
    )


def case(of_flow: Flow | None = None, owner: Owner | None = None) -> Case:
    """Return what rules are asked about; it would leave by eth0, when the test began."""
    return Case(of_flow or flow(), owner or process(), "eth0", instant())


def live_flow(
    *,
    of_flow: Flow | None = None,
    owner: Owner | None = None,
    sock_cookie: int | Unknown = 1,
    rivals: tuple[Owner, ...] = (),
    labelled: bool = False,
    is_cut: bool = False,
) -> LiveFlow:
    """Return a flow that is under way, of a socket that is open."""
    found = Finding(owner or process(), Attribution.SOCK_DIAG, sock_cookie, rivals)
    return LiveFlow(of_flow or flow(), found, "eth0", labelled, is_cut, b"entry")


def reviewed(
    of_flow: Flow | None = None,
    *,
    seconds: float = 0,
    owner: Owner | None = None,
    sock_cookie: int | Unknown = 1,
    rivals: tuple[Owner, ...] = (),
    labelled: bool = False,
    is_cut: bool = False,
) -> FlowReviewed:
    """Return the event of a look at a flow that is under way."""
    live = live_flow(
        of_flow=of_flow,
        owner=owner,
        sock_cookie=sock_cookie,
        rivals=rivals,
        labelled=labelled,
        is_cut=is_cut,
    )
    return FlowReviewed(instant(seconds), live)


def pids(found: Finding) -> tuple[int, ...]:
    """Return whom a packet was attributed to, and the rivals; all must be processes."""
    owners = (found.owner, *found.rivals)
    processes = [owner for owner in owners if isinstance(owner, Process)]
    assert len(processes) == len(owners)
    return tuple(owner.pid for owner in processes)


COMPLETE = ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.ARGS_KNOWN | ImageFlag.CGROUP_KNOWN
NO_PROCESS = bytes(IMAGE_KEY.size)
_SLACK = bytes(NAME_BYTES)
OWN_MNTNS = mounts.of_the_rules().namespace


def image_key(pid: int, start_ns: int = 5 * NS_PER_S, exec_id: int = 1) -> bytes:
    """Return a ``struct image_key``."""
    return IMAGE_KEY.pack(start_ns, exec_id, 77, pid, 0)


def own_key(*, start_offset_ns: int = 0) -> bytes:
    """Return the key of the image of this very process, or of one that had its pid before."""
    stat = procfs.stat(os.getpid())
    assert stat is not None
    return image_key(os.getpid(), stat.start_time_ns + start_offset_ns)


def own_inode() -> int:
    """Return the inode of the program that runs the tests."""
    inode = procfs.executable(os.getpid()).inode
    assert isinstance(inode, int)
    return inode


@dataclass(frozen=True, slots=True)
class KernelImage:
    """What the eBPF programs write of a process."""

    parent: bytes = NO_PROCESS
    last_used_ns: int = 0
    flags: ImageFlag = COMPLETE
    exe: bytes = b"/usr/bin/curl"
    exe_device: int = 8 << 20 | 1
    exe_inode: int = 1_234
    exe_changed_ns: int = 1_700_000_000_000_000_000
    exe_hash: int = 0x5EED
    cgroup: bytes = b"/user.slice"
    args: bytes = b"curl\0-s\0"
    mntns: int = OWN_MNTNS

    def packed(self) -> bytes:
        """Return a ``struct image``; what is not the text itself is filled with other bytes."""
        return IMAGE.pack(
            self.parent,
            self.last_used_ns,
            self.exe_inode,
            self.exe_changed_ns,
            self.exe_hash,
            self.exe_device,
            self.flags,
            self.mntns,
            0,
            EXE_BYTES - len(self.exe),
            CGROUP_BYTES - len(self.cgroup),
            len(self.args),
            0,
            self.exe.rjust(EXE_BYTES, b"?") + _SLACK,
            self.cgroup.rjust(CGROUP_BYTES, b"?") + _SLACK,
            self.args.ljust(ARGS_BYTES, b"?"),
        )


@dataclass(frozen=True, slots=True)
class KernelOwner:
    """What the eBPF programs write of a socket."""

    image_key: bytes
    created_ns: int = 0
    released_ns: int = 0
    uid: int = 1_000
    gid: int = 100
    comm: bytes = b"curl"
    flags: OwnerFlag = OwnerFlag.USED
    opener: bytes | None = None
    """None: itself."""

    def packed(self) -> bytes:
        """Return a ``struct owner``, of the process's second thread."""
        tid = IMAGE_KEY.unpack(self.image_key)[3] + 1
        numbers = (self.created_ns, self.released_ns, tid, self.uid, self.gid, 4_026_531_840)
        opener = self.image_key if self.opener is None else self.opener
        return OWNER.pack(self.image_key, *numbers, self.flags, 0, self.comm, opener)


_CLONE_NEWNET = 0x40000000
_OWN_NETNS = Path("/proc/thread-self/ns/net")


@contextmanager
def own_netns() -> Iterator[None]:
    """Put this thread, and what it starts, into a fresh network namespace whose loopback is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = _OWN_NETNS.stat().st_ino
    home = os.open(_OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) or _OWN_NETNS.stat().st_ino == before:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        ip("link set lo up")
        yield
    finally:
        if libc.setns(home, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(home)


def ip(command: str) -> None:
    """Run ``ip`` *command* in the present network namespace."""
    subprocess.run(["ip", *command.split()], check=True)  # noqa: S607  found by PATH
