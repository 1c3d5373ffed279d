"""The last resort of attribution: who holds a socket, by the descriptors in /proc (proc(5))."""

from __future__ import annotations

import collections
from collections.abc import Callable

from nfsnitch.adapters import procfs
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_diag import ANSWERED_PROTOCOLS, SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.owner import Attribution, Finding, Kernel, Owner
from nfsnitch.core.unknown import Unknown

NO_SOCKET = Unknown("which socket sent it is not known")
_ECHO_REQUESTS = frozenset({8, 42, 128, 160})
"""What ping sockets send, in ICMP and ICMPv6; extended echo, too."""
_PROTOCOLS_WITH_SOCKETS = ANSWERED_PROTOCOLS | {33, 115, 132}
"""DCCP, L2TP and SCTP have sockets of their own, but no table of all of them is asked here."""
_MAX_HOLDERS = 8


class SocketHolders:
    """Says who may have sent a flow by who holds its socket, or raw sockets, now."""

    def __init__(
        self,
        entry_of: Callable[[Flow], SocketEntry | None],
        raw_closed_lately: Callable[[Flow], bool],
        proc_limit: TimeLimit,
        counters: collections.Counter[Counter],
    ) -> None:
        """*entry_of* returns a flow's socket by the kernel's tables.

        *raw_closed_lately* says whether a raw socket that may have sent it is closed already. What
        *proc_limit* does not allow is counted in *counters*.
        """
        self._entry_of, self._raw_closed_lately = entry_of, raw_closed_lately
        self._proc_limit, self._counters = proc_limit, counters

    def find(self, flow: Flow, entry: SocketEntry | None) -> Finding:
        """Return who may have sent *flow*; *entry* is its socket, None if there is none to see."""
        cookie = entry.cookie if entry else NO_SOCKET
        owners = self._owners_by_proc(flow, entry)
        known = [owner for owner in owners if not isinstance(owner, Unknown)]
        if not known:
            return Finding(owners[0], Attribution.NONE, cookie)
        # Who may have it from another, or may as well have sent it: it must be allowed to all.
        rivals = tuple(owner for owner in owners if owner is not known[0])
        return Finding(known[0], Attribution.PROC, cookie, rivals, shares_port=True)

    def _owners_by_proc(self, flow: Flow, entry: SocketEntry | None) -> list[Owner]:
        """Return who holds the socket, or the raw sockets that could have sent it; never empty."""
        with self._proc_limit.spending() as may_look:
            if may_look:
                return self._looked_up_in_proc(flow, entry)
        self._counters[Counter.PROC_LIMITED] += 1
        return [Unknown("too many look-ups in /proc at once")]

    def _looked_up_in_proc(self, flow: Flow, entry: SocketEntry | None) -> list[Owner]:
        if entry is not None:
            inodes = [entry.inode] if entry.inode else []
        else:
            inodes = raw_inodes(flow)
            if flow.proto == Protocol.SCTP:
                inodes += procfs.sctp_socket_inodes(flow.sport)
            if self._raw_closed_lately(flow):
                return [Unknown("a raw socket that may have sent it was closed a moment ago")]
        pids = procfs.holders(inodes)
        if len(pids) > _MAX_HOLDERS:
            return [Unknown(f"{len(pids)} processes could have sent it")]
        if not pids and entry is None and inodes:
            return [Unknown("a socket that may have sent it was closed during the search")]
        if pids:
            gone = [Unknown("the process of another such socket is gone")]
            missing = gone if len(pids) < len(inodes) else []
            return [*(procfs.process(pid) for pid in pids), *missing]
        return [self._held_by_nobody(flow, entry)]

    def _held_by_nobody(self, flow: Flow, entry: SocketEntry | None) -> Owner:
        """Return the kernel only where nobody else can have been it."""
        if entry is None:
            if _takes_a_raw_socket(flow):
                return Kernel("no open socket could have sent it")
            return Unknown("no open socket has this tuple")
        if not entry.inode or self._entry_of(flow) != entry:
            return Unknown("its socket was closed before it could be looked up")
        if entry.uid != 0:
            # In flight between two processes, or used through io_uring alone.
            return Unknown("no process holds its socket, and it is not the kernel's")
        return Kernel("no process holds its socket")


def raw_inodes(flow: Flow) -> list[int]:
    """Return the inodes of the raw sockets that can have sent *flow*."""
    identifier = flow.icmp.identifier if flow.icmp else Unknown("not ICMP")
    return procfs.raw_socket_inodes(flow.family, flow.proto, identifier)


def _takes_a_raw_socket(flow: Flow) -> bool:
    """Whether a program without privileges has no kind of socket that sends such packets."""
    if flow.icmp is not None:
        return flow.icmp.type not in _ECHO_REQUESTS
    return flow.proto not in _PROTOCOLS_WITH_SOCKETS
