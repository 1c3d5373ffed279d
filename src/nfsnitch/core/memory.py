"""What the engine remembers of flows it has decided: a bounded number, the oldest are forgotten.

A flow is known by its tuple, and a tuple does not belong to one program for ever: a port that one
socket gives back is another's a moment later, while conntrack still knows the flow for minutes. So
trust belongs to a flow *of a socket*. It begins when the same socket has sent `TRUST_AFTER` packets
(who sends but a few is judged each time), and it ends when the socket is closed, or when the rules
change and do not allow the flow any longer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import KeysView
from typing import NamedTuple

from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.settings import Limits
from nfsnitch.core.unknown import Unknown

TRUST_AFTER = 8
"""Packets of a flow that are judged one by one."""
TRUST_AGAIN_NS = 1_000_000_000
RECORD_AGAIN_NS = 60_000_000_000
"""A flow that goes on being decided alike is recorded again after so long."""


class Decided(NamedTuple):
    """The last decision on a flow."""

    sock_cookie: int
    decision: Decision
    recorded_ns: int
    times: int
    """How often in a row."""


class FlowMemory:
    """The last decisions by flow, and the trusted flows by socket."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._decided: OrderedDict[Flow, Decided] = OrderedDict()
        self._trusted: dict[int, dict[Flow, int]] = {}
        """Socket cookie → its trusted flows, and when that was last said (ns)."""
        self._trusted_flows = 0

    def is_repeated(
        self, flow: Flow, sock_cookie: int | Unknown, decision: Decision, now_ns: int
    ) -> bool:
        """Remember a decision; True if the same socket had the same one on this flow just now."""
        if isinstance(sock_cookie, Unknown):
            return False
        last = self._decided.pop(flow, None)
        times, recorded_ns, is_repeated = 1, now_ns, False
        if last is not None and last.sock_cookie == sock_cookie and last.decision == decision:
            times = last.times + 1
            is_repeated = now_ns - last.recorded_ns < RECORD_AGAIN_NS
            recorded_ns = last.recorded_ns if is_repeated else now_ns
        self._decided[flow] = Decided(sock_cookie, decision, recorded_ns, times)
        while len(self._decided) > self.limits.decided_flows:
            self._decided.popitem(last=False)
        return is_repeated

    def trusts(self, flow: Flow, sock_cookie: int, now_ns: int) -> bool:
        """Remember that *flow* is trusted; True if the kernel should be told so (again).

        TCP needs none: conntrack takes a TCP connection's end and its beginning for what they are.
        What was queued before the kernel heard of it still comes; and after a long silence
        conntrack has forgotten the flow. So it is told again, but not for each packet.
        """
        decided = self._decided.get(flow)
        if flow.proto == Protocol.TCP or decided is None or decided.times < TRUST_AFTER:
            return False
        flows = self._trusted.get(sock_cookie, {})
        if flow in flows:
            if now_ns - flows[flow] < TRUST_AGAIN_NS:
                return False
        elif self._trusted_flows < self.limits.trusted_flows:
            self._trusted_flows += 1
        else:
            return False
        flows[flow] = now_ns
        self._trusted[sock_cookie] = flows
        return True

    def forget_decisions(self) -> None:
        """Forget what was decided, by rules that are in force no longer.

        Which flows the kernel lets pass stays known until each has been reviewed: that has to be
        undone when the socket is closed, whatever the rules say.
        """
        self._decided.clear()

    def trusted(self, flow: Flow, sock_cookie: int | Unknown) -> bool:
        """Whether the kernel lets the packets of this flow of this socket pass."""
        return not isinstance(sock_cookie, Unknown) and flow in self._trusted.get(sock_cookie, {})

    def distrust(self, flow: Flow, sock_cookie: int | Unknown) -> None:
        """Forget that a flow of a socket is trusted."""
        if isinstance(sock_cookie, Unknown) or flow not in self._trusted.get(sock_cookie, {}):
            return
        del self._trusted[sock_cookie][flow]
        self._trusted_flows -= 1
        if not self._trusted[sock_cookie]:
            del self._trusted[sock_cookie]

    @property
    def sockets(self) -> KeysView[int]:
        """Those of which any flow is trusted."""
        return self._trusted.keys()

    def closed(self, sock_cookie: int) -> list[Flow]:
        """Forget a closed socket; returns the flows of it that were trusted."""
        flows = self._trusted.pop(sock_cookie, {})
        self._trusted_flows -= len(flows)
        return list(flows)
