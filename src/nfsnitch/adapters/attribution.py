"""Finds the owner of a flow: eBPF's maps first, then the kernel's socket tables, then /proc."""

from __future__ import annotations

import collections

from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.rate_limit import RateLimit
from nfsnitch.adapters.sock_diag import ANSWERED_PROTOCOLS, SockDiag, SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Attribution, Kernel, Owner, Process
from nfsnitch.core.unknown import Unknown

_IPPROTO_RAW = 255
_CLOSED = Unknown("its socket is closed, and was opened before nfsnitch"), Attribution.NONE

Found = tuple[Owner, Attribution]


class Attributor:
    """Joins flows seen in one network namespace to their owners."""

    def __init__(
        self,
        owners: OwnerStore,
        sock_diag: SockDiag,
        netns_cookie: int,
        proc_limit: RateLimit,
        counters: collections.Counter[Counter],
    ) -> None:
        """Look flows up by *netns_cookie*; what had to be left out goes to *counters*."""
        self._owners = owners
        self._sock_diag = sock_diag
        self._netns_cookie = netns_cookie
        self._proc_limit = proc_limit
        self._counters = counters

    def find(self, flow: Flow) -> Found:
        """Return the owner of *flow* and how it was found."""
        owner = self._by_flow(flow)
        if owner is not None:
            return owner, Attribution.FLOW_MAP
        entry = self._entry(flow)
        if entry is not None:
            owner = self._owners.owner_of(entry.cookie)
            if owner is not None:
                return owner, Attribution.SOCK_DIAG
        else:
            # The socket may have been closed since the first look: closing it writes its tuple
            # first and takes it out of the kernel's tables after that.
            owner = self._by_flow(flow)
            if owner is not None:
                return owner, Attribution.FLOW_MAP
            owner = self._by_port(flow)
            if owner is not None:
                return owner, Attribution.PORT_MAP
        return self._by_proc(flow, entry)

    def _by_flow(self, flow: Flow) -> Process | None:
        if isinstance(flow.sport, Unknown) or isinstance(flow.dport, Unknown):
            return None
        find = self._owners.cookie_of_flow
        cookie = find(layout.flow_key(self._netns_cookie, flow))
        owner = None if cookie is None else self._owners.owner_of(cookie)
        if owner is not None:
            return owner
        cookie = find(layout.flow_key(self._netns_cookie, flow, any_saddr=True))
        return None if cookie is None else self._owners.owner_of(cookie)

    def _entry(self, flow: Flow) -> SocketEntry | None:
        try:
            return self._sock_diag.find(flow)
        except OSError:
            self._counters[Counter.SOCK_DIAG_ERRORS] += 1
            return None

    def _by_port(self, flow: Flow) -> Process | None:
        for key in self._port_keys(flow):
            cookie = self._owners.cookie_of_port(key)
            owner = None if cookie is None else self._owners.owner_of(cookie)
            if owner is not None:
                return owner
        return None

    def _port_keys(self, flow: Flow) -> list[bytes]:
        netns_cookie = self._netns_cookie
        local = flow.icmp.identifier if flow.icmp else flow.sport
        keys = [
            layout.raw_key(netns_cookie, flow.proto),
            layout.raw_key(netns_cookie, _IPPROTO_RAW),
        ]
        if isinstance(local, Unknown):
            return keys
        return [layout.port_key(netns_cookie, flow.proto, local), *keys]

    def _by_proc(self, flow: Flow, entry: SocketEntry | None) -> Found:
        if not self._proc_limit.take():
            self._counters[Counter.PROC_LIMITED] += 1
            return Unknown("too many look-ups in /proc at once"), Attribution.NONE
        identifier = flow.icmp.identifier if flow.icmp else Unknown("not ICMP")
        if entry is not None:
            inodes = [entry.inode] if entry.inode else []
        else:
            inodes = procfs.raw_socket_inodes(flow.family, flow.proto, identifier)
        if not inodes:
            if entry is not None or flow.proto in ANSWERED_PROTOCOLS:
                return _CLOSED
            return Kernel("no socket could have sent it"), Attribution.PROC
        pids = sorted({pid for inode in inodes for pid in procfs.holders(inode)})
        if pids:
            return _one_of(pids)
        if entry is None or self._entry(flow) == entry:
            return Kernel("no process holds its socket"), Attribution.PROC
        return _CLOSED  # while /proc was being searched


def _one_of(pids: list[int]) -> Found:
    if len(pids) > 1:
        several = ", ".join(map(str, pids[:8]))
        return Unknown(f"several processes could have sent it: {several}"), Attribution.NONE
    found = procfs.process(pids[0])
    return found, Attribution.NONE if isinstance(found, Unknown) else Attribution.PROC
