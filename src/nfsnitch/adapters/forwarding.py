"""Finds the owner of a flow that comes from another network namespace of this machine.

Such a packet has no socket here, and its tuple alone does not say whose it is: two containers may
well use the same addresses. But an eBPF program has seen it leave its socket, and written down by
which interface it would come out here (bpf/crossing.h). So the interfaces that it may have come by
are asked for one by one; who sent with that tuple by another interface has nothing to do with it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.layout import Crossing
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.links import Links
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Attribution, Finding, Forwarded, Kernel, Owner
from nfsnitch.core.passage import Passage
from nfsnitch.core.unknown import Unknown

LATE_NS = 3_000_000_000
"""How long a packet may be on its way here: until a neighbour has answered, or gave no answer
(three solicitations, a second each: ``mcast_solicit``, ``retrans_time_ms``)."""
_MAX_HOLDERS = 8
_ANYBODY = 0xFFFFFFFF
"""The uid of a socket where none is known: nobody's."""
_BY_KERNEL = Kernel("no program's socket sent it, in another network namespace")
_FROM_OUTSIDE = Forwarded("it came from outside, by an interface that leads to no program here")
_NO_SENDER = Unknown(
    "it came from another network namespace, and no socket there is known to have sent it"
)
_FORGOTTEN = Unknown("its socket is closed, and whose it was is not known any more")
_NO_SOCKET = Unknown("which socket sent it is not known")


class _Sender(NamedTuple):
    """Who may have sent it."""

    owner: Owner
    sock_cookie: int | Unknown
    shares_port: bool
    attribution: Attribution = Attribution.EGRESS_PROBE


class ForwardedAttributor:
    """Joins flows that one network namespace forwards to their owners in others."""

    def __init__(
        self,
        owners: OwnerStore,
        links: Links,
        netns_cookie: int,
        queue_empty_ns: Callable[[], int],
        proc_limit: TimeLimit,
        counters: collections.Counter[Counter],
        tells_translation: Callable[[], bool] = lambda: True,
    ) -> None:
        """Look at what comes to *netns_cookie*; *queue_empty_ns* as for `Attributor`.

        *tells_translation* says whether a passage tells of destinations that were translated.
        """
        self._tells_translation = tells_translation
        self._owners = owners
        self._links = links
        self._netns_cookie = netns_cookie
        self._queue_empty_ns = queue_empty_ns
        self._proc_limit = proc_limit
        self._counters = counters

    def find(self, flow: Flow, passage: Passage) -> Finding:
        """Return the owner of *flow*, which came by *passage*.

        Raises:
            OSError: the kernel did not tell its interfaces.

        """
        since_ns = self._queue_empty_ns() - LATE_NS
        crossings = self._crossings(passage.sent or flow, passage)
        recent = [crossing for crossing in crossings if crossing.last_ns > since_ns]
        if not recent and not self._tells_translation():
            crossings = self._by_source(flow, passage)
            recent = [crossing for crossing in crossings if crossing.last_ns > since_ns]
        senders = [sender for each in recent for sender in self._senders(each, since_ns)]
        return _found(senders) if senders else self.without_sender(passage)

    def holder(self, flow: Flow, passage: Passage) -> Finding | SocketEntry | None:
        """Return who has the flow's socket now, without a packet of it, as `Attributor.holder`.

        None: nobody has it any more. A socket that is older than our eBPF programs is returned as
        it is: /proc tells whose it is.

        Raises:
            OSError: the kernel did not tell its interfaces.

        """
        crossings = self._crossings(passage.sent or flow, passage)
        if not crossings:
            return self.without_sender(passage)
        users = [self._owners.socket_user(crossing.claim.cookie) for crossing in crossings]
        open_ones = [user for user in users if user is not None and not user.released_ns]
        if open_ones:
            return _found(
                [_Sender(each.owner, each.cookie, each.shares_port) for each in open_ones]
            )
        old = [each for each, user in zip(crossings, users, strict=True) if user is None]
        named = [each for each in old if each.inode and each.claim.cookie != layout.COOKIE_KERNEL]
        return SocketEntry(named[0].claim.cookie, named[0].inode, _ANYBODY) if named else None

    def without_sender(self, passage: Passage) -> Finding:
        """Return whose it is if no socket of this machine is known to have sent it."""
        # A packet that was written onto a container's interface itself (AF_PACKET) must not pass
        # for one from outside.
        inside = self._links.doors(passage.port or passage.ifindex)
        if inside and not self._links.is_uplink(passage.ifindex):
            return Finding(_NO_SENDER, Attribution.NONE, _NO_SOCKET)
        return Finding(_FROM_OUTSIDE, Attribution.NONE, _NO_SOCKET)

    def _crossings(self, sent: Flow, passage: Passage) -> list[Crossing]:
        """Return who has sent with this tuple by the interfaces that it may have come by."""
        doors = self._links.doors(passage.port or passage.ifindex)
        keys = (layout.crossing_key(self._netns_cookie, sent, door) for door in doors)
        found = [each for each in map(self._owners.crossing, keys) if each is not None]
        return sorted(found, key=lambda crossing: crossing.last_ns, reverse=True)

    def _by_source(self, flow: Flow, passage: Passage) -> list[Crossing]:
        """Return who has sent from this address and port, wherever to, by the same interfaces.

        It takes a walk through all that is known, and so is limited as looking into /proc is.
        """
        with self._proc_limit.spending() as may_look:
            if not may_look:
                self._counters[Counter.PROC_LIMITED] += 1
                return []
            doors = self._links.doors(passage.port or passage.ifindex)
            wanted = {
                layout.crossing_source(layout.crossing_key(self._netns_cookie, flow, door))
                for door in doors
            }
            found = [
                crossing
                for key, crossing in self._owners.crossings()
                if layout.crossing_source(key) in wanted
            ]
        return sorted(found, key=lambda crossing: crossing.last_ns, reverse=True)

    def _senders(self, crossing: Crossing, since_ns: int) -> Iterator[_Sender]:
        """Yield who uses a crossing, and who did before if packets of theirs may still come."""
        claim = crossing.claim
        yield from self._present_senders(crossing)
        if claim.previous_ns <= since_ns:
            return
        for cookie in dict.fromkeys(each for each in claim.previous if each != claim.cookie):
            user = self._owners.socket_user(cookie)
            if cookie == layout.COOKIE_KERNEL:
                yield _Sender(_BY_KERNEL, _NO_SOCKET, shares_port=True)
            elif user is not None and (not user.released_ns or user.released_ns > since_ns):
                yield _Sender(user.owner, cookie, shares_port=True)
        if len(claim.previous) == layout.MAX_PREVIOUS and self._closed_since(
            claim.previous[-1], since_ns
        ):
            # Before the earliest that is known there may have been others whose packets wait.
            yield _Sender(_FORGOTTEN, _NO_SOCKET, shares_port=True)

    def _closed_since(self, cookie: int, since_ns: int) -> bool:
        user = self._owners.socket_user(cookie)
        return user is not None and user.released_ns > since_ns

    def _present_senders(self, crossing: Crossing) -> Iterator[_Sender]:
        cookie = crossing.claim.cookie
        if cookie == layout.COOKIE_KERNEL:
            yield _Sender(_BY_KERNEL, _NO_SOCKET, shares_port=True)
            return
        user = self._owners.socket_user(cookie)
        if user is not None:
            yield _Sender(user.owner, cookie, user.shares_port)
            return
        for owner in self._holders(crossing.inode):
            by = Attribution.NONE if isinstance(owner, Unknown) else Attribution.PROC
            yield _Sender(owner, cookie, shares_port=True, attribution=by)

    def _holders(self, inode: int) -> list[Owner]:
        """Return who holds a socket that is older than our eBPF programs; never empty."""
        if not inode:
            return [_FORGOTTEN]
        with self._proc_limit.spending() as may_look:
            if may_look:
                pids = procfs.holders([inode])
                if len(pids) > _MAX_HOLDERS:
                    return [Unknown(f"{len(pids)} processes could have sent it")]
                return [procfs.process(pid) for pid in pids] or [_FORGOTTEN]
        self._counters[Counter.PROC_LIMITED] += 1
        return [Unknown("too many look-ups in /proc at once")]


def _found(senders: list[_Sender]) -> Finding:
    """Return the finding for the first of those who may have sent it; it must hold for all."""
    first, *others = senders
    rivals = tuple(each.owner for each in others)
    shares_port = first.shares_port or bool(rivals)
    return Finding(first.owner, first.attribution, first.sock_cookie, rivals, shares_port)
