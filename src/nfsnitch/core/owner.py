"""The owner of a flow: the process that sends it, as it was when it opened the socket."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from nfsnitch.core.identity import NOT_IDENTIFIED, Identity
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.unknown import Unknown

SEEN_ALIKE = Unknown("its process sees it as everybody does")


@dataclass(frozen=True, slots=True)
class Executable:
    """The program file that a process runs."""

    path: str | Unknown
    """Absolute, as the machine's first process sees it, for whom rules are written."""
    device: int | Unknown
    """``st_dev`` as user space encodes it (see `makedev(3)`)."""
    inode: int | Unknown
    deleted: bool = False
    """No name in the file system leads to it any more (removed, replaced, or a memfd)."""
    inside: str | Unknown = SEEN_ALIKE
    """Absolute, as its own process sees it, where that is another path: in a container, say."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One process on the way from the owner's parent up to the first process."""

    pid: int
    start_time_ns: int
    """Boot-time clock; tells a reused pid apart."""
    exe: Executable


CWD_NOT_LOOKED_UP = Unknown("its working directory was not looked up")


@dataclass(frozen=True, slots=True)
class Process:
    """A user-space owner. `pid` is the kernel's tgid, `tid` its pid."""

    pid: int
    tid: int
    start_time_ns: int
    """Nanoseconds since boot, suspend included (CLOCK_BOOTTIME)."""
    uid: int
    """The file-system uid, which is what the kernel itself stamps on sockets."""
    gid: int
    exe: Executable
    args: tuple[str, ...] | Unknown
    comm: str
    parents: tuple[Ancestor, ...]
    """Nearest first; ends at the first process or where the chain could not be followed."""
    cgroup_id: int | Unknown
    cgroup: str | Unknown
    """Path below the cgroup v2 root, ``/`` for the root itself."""
    netns: int | Unknown
    """Inode number of the network namespace, as in ``net:[4026531840]``."""
    cwd: str | Unknown = CWD_NOT_LOOKED_UP
    """Working directory; looked up only where a rule needs it (`nfsnitch.core.script`)."""
    opener: Ancestor | Unknown | None = None
    """Who opened the socket and left it to this process (inherited, passed on); None: itself."""
    identity: Identity = NOT_IDENTIFIED
    """Which binary `exe` is, and its names for people."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel itself sends: no process holds the socket (WireGuard, NFS, IGMP and the like)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forwarded:
    """No process of this machine sends: it is another machine's, passed on by this one."""

    reason: str


Owner = Process | Kernel | Forwarded | Unknown


class Attribution(StrEnum):
    """How the owner was found; every record names it."""

    QUEUE_PROBE = "queue-probe"
    """eBPF saw, on the packet's way into the queue, which socket had sent it."""
    PACKET_FILTER = "packet-filter"
    """eBPF saw which socket had sent it, and the kernel decided by itself."""
    EGRESS_PROBE = "egress-probe"
    """eBPF saw, in another network namespace, which socket had sent it to this one."""
    FLOW_MAP = "flow-map"
    """eBPF had written tuple → socket cookie → owner."""
    SOCK_DIAG = "sock-diag"
    """The kernel's socket tables gave the cookie, eBPF the owner."""
    PORT_MAP = "port-map"
    """eBPF's local port (or raw protocol) → socket cookie → owner."""
    OPENING_HOOK = "opening-hook"
    """eBPF saw who opened the socket."""
    PROC = "proc"
    """The last resort: the socket's inode among the file descriptors in /proc."""
    NONE = "none"
    """Nobody could tell."""


NOT_FORWARDED = Unknown("this machine sends it itself")


class Finding(NamedTuple):
    """What attribution found out about a flow."""

    owner: Owner
    attribution: Attribution
    sock_cookie: int | Unknown
    """Which socket sends it; the kernel never gives two sockets the same cookie."""
    rivals: tuple[Owner, ...] = ()
    """Others who may have sent it instead: a tuple changed hands while the packet was queued."""
    shares_port: bool = False
    """Another socket may send with the same tuple: the flow cannot be trusted."""
    is_closed: bool = False
    """Its socket has been closed since: who trusts the flow now may never hear of that again."""
    iface_in: str | Unknown = NOT_FORWARDED
    """The interface by which it came, if it is forwarded."""
    names: Names = NOT_LOOKED_UP
    """Of the destination address, as far as they count for `owner`."""
    names_of_rivals: tuple[Names, ...] = ()
    """The same for each of `rivals`; none: nobody looked."""
