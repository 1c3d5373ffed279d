"""The flows that are under way from this machine, as the kernel's own tables have them.

Nothing is remembered here of flows that were let pass: conntrack knows those that are, the socket
tables whose they are. What came in from outside, is forwarded, or stays on this machine is none of
ours, and left out: our chains do not ask about it either. Of those that are forwarded that is so
unless they are to be judged, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

from nfsnitch.adapters import procfs
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.conntrack_table import ConntrackEntry, conntrack_entries
from nfsnitch.adapters.forwarding import ForwardedAttributor
from nfsnitch.adapters.routes import Routes
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.flow import Protocol
from nfsnitch.core.owner import Attribution, Finding, Kernel, Owner
from nfsnitch.core.passage import Passage
from nfsnitch.core.settings import Loopback, Settings
from nfsnitch.core.unknown import Unknown

MAX_OLD_SOCKETS = 16_384
"""Of those that are older than the eBPF programs; /proc is searched for all of them at once."""


class _Old(NamedTuple):
    """A flow whose socket is older than the eBPF programs."""

    live: LiveFlow
    socket: SocketEntry


class _Labels(NamedTuple):
    """Which labels of ours an entry bears."""

    labelled: bool
    is_cut: bool
    awaits_name: bool


def _labels(entry: ConntrackEntry, settings: Settings) -> _Labels:
    ours = (settings.label, settings.cut_label, settings.name_label)
    return _Labels(*(bool(entry.labels >> label & 1) for label in ours))


class LiveFlows:
    """Looks at all flows under way, a little at a time."""

    def __init__(
        self,
        attributor: Attributor,
        iface_name: Callable[[int], str | Unknown],
        settings: Callable[[], Settings],
        forwarded: ForwardedAttributor | None = None,
    ) -> None:
        """Look by the *settings* in force: conntrack labels, and whether loopback is judged.

        One label tells which flows pass in the kernel, another which were cut. Flows that are
        forwarded are left out unless *forwarded* can say whose they are.
        """
        self._forwarded = forwarded
        self._attributor = attributor
        self._iface_name = iface_name
        self._settings = settings

    def look(self) -> Iterator[LiveFlow | None]:
        """Yield every flow of ours once, and None for a step that found none.

        Raises:
            OSError: the kernel did not answer, or refused.

        """
        old: list[_Old] = []
        open_ports = self._attributor.local_ports()

        def is_wanted(proto: int, sport: int) -> bool:
            # Of most flows in a busy table nothing is left but the entry.
            if self._forwarded is not None:
                return True
            return proto not in open_ports or sport in open_ports[proto]

        with closing(Routes()) as routes:
            for entry in conntrack_entries(is_wanted):
                live = None if entry is None else self._live(entry, routes)
                if isinstance(live, _Old):
                    # Of more than can be kept it stays unknown whose they are.
                    if len(old) < MAX_OLD_SOCKETS:
                        old.append(live)
                        continue
                    live = live.live._replace(found=_unknown("too many sockets are older than we"))
                yield live
        yield from _by_proc(old)

    def _live(self, entry: ConntrackEntry, routes: Routes) -> LiveFlow | _Old | None:
        flow = entry.flow
        settings = self._settings()
        labels = _labels(entry, settings)
        labelled, is_cut, awaits_name = labels
        if self._forwarded is not None and not routes.to(flow.family, flow.saddr).is_local:
            return self._passing(entry, routes, labels)
        # A TCP connection is told by both its ends. A UDP socket may be bound to no address, and
        # the kernel would name it for a datagram that is forwarded, too.
        from_here = flow.proto == Protocol.TCP or routes.to(flow.family, flow.saddr).is_local
        if not (any(labels) or from_here):
            return None
        route = routes.to(flow.family, flow.daddr)
        if route.is_loopback and settings.loopback is Loopback.SKIP:
            return None
        found = self._attributor.holder(flow)
        if found is None and not any(labels):
            return None
        iface = self._iface_name(route.ifindex)
        if isinstance(found, SocketEntry):
            live = LiveFlow(flow, None, iface, labelled, is_cut, entry.handle, awaits_name)
            return _Old(live, found)
        return LiveFlow(flow, found, iface, labelled, is_cut, entry.handle, awaits_name)

    def _passing(
        self, entry: ConntrackEntry, routes: Routes, labels: _Labels
    ) -> LiveFlow | _Old | None:
        """Return a flow from elsewhere if it is forwarded; else it came in, and is none of ours."""
        flow = entry.flow
        labelled, is_cut, awaits_name = labels
        onward = routes.to(flow.family, flow.daddr)
        if self._forwarded is None or onward.is_local:
            return None
        # Where answers to it go, it came from.
        passage = Passage(routes.to(flow.family, flow.saddr).ifindex, 0, entry.sent)
        found = self._forwarded.holder(flow, passage)
        iface, iface_in = map(self._iface_name, (onward.ifindex, passage.ifindex))
        what = (iface, labelled, is_cut, entry.handle, awaits_name)
        live = LiveFlow(flow, None, *what, is_forwarded=True)
        if isinstance(found, SocketEntry):
            return _Old(live, found)
        if found is None and not any(labels):
            return None
        return live._replace(found=found and found._replace(iface_in=iface_in))


def _by_proc(old: list[_Old]) -> Iterator[LiveFlow | None]:
    """Yield the flows of sockets that only /proc knows, after one walk through it."""
    if not old:
        return
    pids: dict[int, list[int]] = {}
    for inode, pid in procfs.each_holder({each.socket.inode for each in old}):
        if inode:
            pids.setdefault(inode, []).append(pid)
        yield None
    processes: dict[int, Owner] = {}
    for live, sock in old:
        for pid in pids.get(sock.inode, ()):
            if pid not in processes:
                processes[pid] = procfs.process(pid)
        owners = tuple(processes[pid] for pid in pids.get(sock.inode, ()))
        if live.is_forwarded and not owners:
            continue  # nobody has it any more
        yield live._replace(found=_found(owners, sock))


def _found(owners: tuple[Owner, ...], sock: SocketEntry) -> Finding:
    if owners:
        # Whoever holds it may send: it must be allowed to all.
        return Finding(owners[0], Attribution.PROC, sock.cookie, owners[1:], shares_port=True)
    if sock.uid == 0:
        kernel = Kernel("no process holds its socket")
        return Finding(kernel, Attribution.PROC, sock.cookie, shares_port=True)
    return _unknown("no process holds its socket, and it is not the kernel's")


def _unknown(why: str) -> Finding:
    return Finding(Unknown(why), Attribution.NONE, Unknown(why))
