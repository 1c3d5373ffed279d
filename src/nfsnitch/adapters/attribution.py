"""Finds the owner of a flow: eBPF's maps first, then the kernel's socket tables, then /proc."""

from __future__ import annotations

import collections
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.layout import FlowClaim
from nfsnitch.adapters.bpf.owners import OwnerStore, RawSockets, SocketUser
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_diag import ANSWERED_PROTOCOLS, SockDiag, SocketEntry
from nfsnitch.adapters.socket_holders import NO_SOCKET, SocketHolders, raw_inodes
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.owner import Attribution, Finding, Kernel, Owner
from nfsnitch.core.unknown import Unknown

_IPPROTO_RAW = 255
_TCP = int(Protocol.TCP)
_LATE_NS = 1_000_000
"""How long after its close a socket's last packet may still enter the queue (data held back)."""
_REMEMBERED_SENDERS = 1_024
_FORGOTTEN = Unknown("its socket is closed, and whose it was is not known any more")
_CROWDED = Unknown("so many sockets have had its port since that not all of them are known")
_BY_KERNEL = Kernel("no program's socket sent it")


class Attributor:
    """Joins flows seen in one network namespace to their owners.

    Between a packet's way into the queue and our looking at it, its socket may be closed and its
    tuple given to another socket. What keeps that apart is order: a socket's packets were queued
    before it was closed, and it was closed before the next one got its tuple. So a socket that was
    closed before the horizon (the time after which every packet still to come was queued) has none
    left. Until then both may have sent it: the first packet goes to the earlier one, and the
    finding names the other as a rival, so that nothing passes that is not allowed to both.
    """

    def __init__(
        self,
        owners: OwnerStore,
        sock_diag: SockDiag,
        netns_cookie: int,
        queue_empty_ns: Callable[[], int],
        proc_limit: TimeLimit,
        counters: collections.Counter[Counter],
    ) -> None:
        """Look flows up by *netns_cookie*; what has to be left out is counted in *counters*.

        *queue_empty_ns* tells when the queue was last seen empty (monotonic).
        """
        self._owners = owners
        self._sock_diag = sock_diag
        self._netns_cookie = netns_cookie
        self._queue_empty_ns = queue_empty_ns
        self._counters = counters
        self._holders = SocketHolders(
            self._entry, lambda flow: bool(self._raw_closed_lately(flow)), proc_limit, counters
        )
        self._seen_ns = 0
        self._sees_packets = owners.sees_packets
        self._usual = Attribution.QUEUE_PROBE if self._sees_packets else Attribution.FLOW_MAP
        self._last_sender: OrderedDict[Flow, int] = OrderedDict()

    def find(self, flow: Flow) -> Finding:
        """Return the owner of *flow* and how it was found."""
        found = self._of_only_one(flow)
        if found is not None:
            return found
        return self._by_queue_probe(flow) if self._sees_packets else self._by_claims(flow)

    def _of_only_one(self, flow: Flow) -> Finding | None:
        """Return who sent it where one socket alone can have, and is open.

        It is what all the others would find, as nearly always, without looking for anybody else.
        """
        if flow.proto != _TCP or type(flow.sport) is not int:
            return None
        only = self._owners.only_user(layout.flow_key(self._netns_cookie, flow))
        if only is None:
            return None
        user, since_ns = only
        self._note_sender(flow, user.cookie)
        # Without a probe on the queue, a socket may claim its tuple when it has sent already.
        before_ns = max(since_ns, user.created_ns) if self._sees_packets else user.created_ns
        self._seen_ns = max(self._seen_ns, before_ns)
        return Finding(user.owner, self._usual, user.cookie, (), user.shares_port)

    def _by_claims(self, flow: Flow) -> Finding:
        claims = list(self._claims(flow))
        if any(map(self._may_lack_sender, claims)):
            return _nobody(_CROWDED)
        users = self._users_by_claims(claims, flow)
        if users and not users[-1].released_ns:
            return self._chosen(flow, users, Attribution.FLOW_MAP)
        # No socket has claimed the tuple, or the one that had is closed and another may have it.
        entry = self._entry(flow)
        if entry is None:
            return self._by_closed_socket(flow)
        user = self._owners.socket_user(entry.cookie)
        if user is None:
            return self._holders.find(flow, entry)
        before = [each for each in users if each.cookie != user.cookie]
        return self._chosen(flow, [*before, user], Attribution.SOCK_DIAG)

    def _by_queue_probe(self, flow: Flow) -> Finding:
        """Return who sent it by what the probe on the queue has written down.

        Each packet's sender is there before the packet is here. It is not the sender of this one
        only if another socket sent with the same tuple while this one waited: that is why those who
        had the tuple before, and used it after the horizon, are rivals.
        """
        claim = self._owners.claim_on_flow(layout.packet_key(self._netns_cookie, flow))
        if claim is None:  # pushed out; or the probe was not run (see ADR 7)
            return self._by_tables(flow, None)
        if self._may_lack_sender(claim):
            return _nobody(_CROWDED)
        earlier = self._still_waiting(claim)
        if not earlier:
            self._seen_ns = max(self._seen_ns, claim.since_ns)
        user = self._sender(claim.cookie)
        if user is not None:
            return self._chosen(flow, [*earlier, user], Attribution.QUEUE_PROBE)
        found = self._by_tables(flow, claim.cookie)
        return found._replace(rivals=(*found.rivals, *(each.owner for each in earlier)))

    def _still_waiting(self, claim: FlowClaim) -> list[SocketUser]:
        """Return who sent with the tuple before, where packets of theirs may not be known yet."""
        if claim.previous_ns + _LATE_NS <= self._horizon_ns():
            return []
        # Each once: two that take turns are there again and again.
        before = dict.fromkeys(each for each in reversed(claim.previous) if each != claim.cookie)
        users = map(self._sender, before)
        return [user for user in users if user is not None and self._may_be_late(user)]

    def _sender(self, cookie: int) -> SocketUser | None:
        if cookie == layout.COOKIE_KERNEL:
            return SocketUser(cookie, _BY_KERNEL, 0, 0, shares_port=True)
        return None if cookie == layout.COOKIE_UNNUMBERED else self._owners.socket_user(cookie)

    def _by_tables(self, flow: Flow, cookie: int | None) -> Finding:
        """Return what the kernel's tables and /proc say, of the socket *cookie* if one is named."""
        entry = self._entry(flow)
        named = cookie is not None and cookie != layout.COOKIE_UNNUMBERED
        if entry is None:
            listed = flow.proto in ANSWERED_PROTOCOLS and cookie is not None
            return _nobody(_FORGOTTEN) if listed else self._holders.find(flow, None)
        if named and entry.cookie != cookie:
            return _nobody(_FORGOTTEN)
        user = self._owners.socket_user(entry.cookie)
        if user is None:
            return self._holders.find(flow, entry)
        return _finding(user, Attribution.SOCK_DIAG)

    def holder(self, flow: Flow) -> Finding | SocketEntry | None:
        """Return who has the flow's socket now, for a look at a flow without a packet of it.

        Several who may are named together, as in `find`; but nothing is taken note of, so that
        packets are attributed as if nobody had looked. None: nobody has it any more. A socket that
        is older than our eBPF programs is returned as it is: /proc tells whose it is.

        Raises:
            OSError: the kernel's socket tables could not be asked.

        """
        entry = self._open_entry(flow)
        if entry is None and flow.proto == Protocol.TCP:
            return None
        users = [user for user in self._users_by_flow(flow) if not user.released_ns]
        if entry is not None:
            user = self._owners.socket_user(entry.cookie)
            if user is None:
                # One that is closed, with data still on its way, has nobody in /proc either.
                return entry if entry.inode else None
            users = [user, *(each for each in users if each.cookie != user.cookie)]
        if not users:
            cookies = (each for each in self._cookies_by_port(flow) if each is not None)
            found = [self._owners.socket_user(cookie) for cookie in cookies]
            users = [user for user in found if user is not None and not user.released_ns]
        if not users:
            return None
        rivals = tuple(each.owner for each in users[1:])
        by = Attribution.PORT_MAP if entry is None else Attribution.SOCK_DIAG
        return _finding(users[0], by, rivals)

    def local_ports(self) -> dict[int, set[int]]:
        """Return, by protocol, the local ports of sockets that are open; some protocols lack.

        Raises:
            OSError: the kernel's socket tables could not be asked.

        """
        return {proto: self._sock_diag.local_ports(proto) for proto in ANSWERED_PROTOCOLS}

    def _open_entry(self, flow: Flow) -> SocketEntry | None:
        if flow.proto == Protocol.TCP:
            return self._sock_diag.find_connected(flow)
        return self._sock_diag.find(flow)

    def _by_closed_socket(self, flow: Flow) -> Finding:
        # It may have been closed since the first look: closing it writes its tuple first, and takes
        # it out of the kernel's tables after that.
        users = self._users_by_flow(flow)
        if users:
            return self._chosen(flow, users, Attribution.FLOW_MAP)
        if any(self._claims(flow)):
            # Some socket had the tuple, and no longer says whose it was. To go on looking would
            # find somebody's raw socket at best.
            return _nobody(_FORGOTTEN)
        found = self._by_port(flow)
        if found is not None:
            return found
        found = self._holders.find(flow, None)
        if found.attribution is Attribution.PROC:
            return found
        # The socket may have been closed during the search: since then its port is written down.
        return self._by_port(flow) or found

    def _entry(self, flow: Flow) -> SocketEntry | None:
        try:
            return self._sock_diag.find(flow)
        except OSError:
            self._counters[Counter.SOCK_DIAG_ERRORS] += 1
            return None

    def _by_port(self, flow: Flow) -> Finding | None:
        for cookie in self._cookies_by_port(flow):
            user = None if cookie is None else self._possible_user(cookie)
            if user is not None:
                return _finding(user, Attribution.PORT_MAP)
        return None

    def _users_by_flow(self, flow: Flow) -> list[SocketUser]:
        """Return who may have sent it by the flow map, the earlier one first."""
        return self._users_by_claims(self._claims(flow), flow)

    def _users_by_claims(self, claims: Iterable[FlowClaim], flow: Flow) -> list[SocketUser]:
        users = {user.cookie: user for claim in claims for user in self._users_by_claim(claim)}
        found = sorted(users.values(), key=lambda user: user.created_ns)
        if len(found) == 1:
            return found
        # Of a closed one no packet moves the horizon where the kernel has answered for them all.
        return [
            user
            for user in found
            if not user.released_ns or not self._owners.was_answered(user.cookie, flow)
        ]

    def _claims(self, flow: Flow) -> Iterator[FlowClaim]:
        """Yield the claims on the tuple, with its source address and without it."""
        if isinstance(flow.sport, Unknown) or isinstance(flow.dport, Unknown):
            return
        # TCP has always had its source address when it came to write its tuple.
        for any_saddr in (False,) if flow.proto == Protocol.TCP else (False, True):
            key = layout.flow_key(self._netns_cookie, flow, any_saddr=any_saddr)
            claim = self._owners.claim_on_flow(key)
            if claim is not None:
                yield claim

    def _users_by_claim(self, claim: FlowClaim) -> list[SocketUser]:
        # Those before are out once they are closed. One that is still open shares the port.
        users = map(self._possible_user, [*reversed(claim.previous), claim.cookie])
        return [user for user in users if user is not None]

    def _may_lack_sender(self, claim: FlowClaim) -> bool:
        """Whether packets may wait of a socket that the claim has no room for any more.

        Had it that port alone, it was closed before the earliest one there is got it. Where several
        share a port, those that are known are judged, and which others there are is not asked.
        """
        if len(claim.previous) < layout.MAX_PREVIOUS:
            return False
        earliest = self._sender(claim.previous[-1])
        if earliest is None or not earliest.released_ns:
            return False
        return self._may_be_late(earliest)

    def _possible_user(self, cookie: int) -> SocketUser | None:
        """Return who uses a socket, unless it was closed so early that no packet of it is left."""
        user = self._owners.socket_user(cookie)
        return user if user is not None and self._may_be_late(user) else None

    def _may_be_late(self, user: SocketUser) -> bool:
        """Whether packets of a socket may still come: it is open, or was when they were queued."""
        return not user.released_ns or user.released_ns + _LATE_NS > self._horizon_ns()

    def _horizon_ns(self) -> int:
        """Return a time before which no packet was queued that is still to come (monotonic).

        The queue keeps order: what comes after a packet was queued after that packet's socket was
        made, and what comes after the queue has been seen empty was queued after that.
        """
        return max(self._seen_ns, self._queue_empty_ns())

    def _chosen(self, flow: Flow, users: list[SocketUser], attribution: Attribution) -> Finding:
        """Return the finding for the one among *users* (earliest first) whose turn it is."""
        last = self._last_sender.get(flow)
        cookies = [user.cookie for user in users]
        turn = 0 if last not in cookies else min(cookies.index(last) + 1, len(users) - 1)
        user = users[turn]
        self._note_sender(flow, user.cookie)
        self._seen_ns = max(self._seen_ns, users[0].created_ns)
        rivals = tuple(each.owner for each in users if each is not user)
        return _finding(user, attribution, rivals)

    def _note_sender(self, flow: Flow, cookie: int) -> None:
        self._last_sender[flow] = cookie
        if len(self._last_sender) > _REMEMBERED_SENDERS:
            self._last_sender.popitem(last=False)

    def _cookies_by_port(self, flow: Flow) -> Iterator[int | None]:
        local = flow.icmp.identifier if flow.icmp else flow.sport
        if not isinstance(local, Unknown):
            key = layout.port_key(self._netns_cookie, flow.proto, local)
            yield self._owners.cookie_of_port(key)
        yield self._cookie_of_raw(flow)

    def _cookie_of_raw(self, flow: Flow) -> int | None:
        """Return the one raw socket that can have sent it; None if there is none, or several."""
        open_ones = [claim for claim in self._raw_claims(flow) if claim.open]
        lately = self._raw_closed_lately(flow)
        if sum(claim.open for claim in open_ones) == 1 and not lately:
            # eBPF has not counted those that are older than its programs.
            return self._if_open(open_ones[0].cookie) if len(raw_inodes(flow)) == 1 else None
        # Of several that were closed lately, the one that was made last is as good as any: who may
        # open raw sockets may send past us altogether (AF_PACKET).
        return lately[0].cookie if lately and not open_ones else None

    def _raw_closed_lately(self, flow: Flow) -> list[RawSockets]:
        """Return the protocols with a raw socket that is closed, and may have sent it before."""
        until_ns = self._horizon_ns() - _LATE_NS
        return [each for each in self._raw_claims(flow) if each.closed_ns > max(until_ns, 0)]

    def _raw_claims(self, flow: Flow) -> list[RawSockets]:
        """Return the raw sockets of its protocol, and those of IPPROTO_RAW, which send any."""
        keys = (layout.raw_key(self._netns_cookie, proto) for proto in (flow.proto, _IPPROTO_RAW))
        return [claim for claim in map(self._owners.raw_sockets, keys) if claim is not None]

    def _if_open(self, cookie: int) -> int | None:
        user = self._owners.socket_user(cookie)
        # The one that was made last may be closed, and the open one another.
        return None if user is None or user.released_ns else cookie


def _finding(user: SocketUser, attribution: Attribution, rivals: tuple[Owner, ...] = ()) -> Finding:
    cookie = NO_SOCKET if user.cookie == layout.COOKIE_KERNEL else user.cookie
    is_closed = user.released_ns != 0
    return Finding(user.owner, attribution, cookie, rivals, user.shares_port, is_closed)


def _nobody(why: Unknown) -> Finding:
    return Finding(why, Attribution.NONE, NO_SOCKET)
