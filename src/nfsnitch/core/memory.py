"""What the engine remembers of flows it has decided: a bounded number, the oldest are forgotten.

A flow is known by its tuple, and a tuple does not belong to one program for ever: a port that one
socket gives back is another's a moment later, while conntrack still knows the flow for minutes. So
trust belongs to a flow *of a socket*. It begins with the second packet that the same socket sends
(who sends but one is judged each time), and it ends when the socket is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.unknown import Unknown

MAX_DECIDED = 8_192
MAX_TRUSTED_SOCKETS = 16_384
MAX_FLOWS_OF_SOCKET = 256
TRUST_AGAIN_NS = 1_000_000_000
RECORD_AGAIN_NS = 60_000_000_000
"""A flow that goes on being decided alike is recorded again after so long."""


class Decided(NamedTuple):
    """The last decision on a flow."""

    sock_cookie: int
    decision: Decision
    recorded_ns: int


class FlowMemory:
    """The last decisions by flow, and the trusted flows by socket."""

    def __init__(self) -> None:
        self._decided: OrderedDict[Flow, Decided] = OrderedDict()
        self._trusted: dict[int, dict[Flow, int]] = {}
        """Socket cookie → its trusted flows, and when that was last said (ns)."""

    def is_repeated(
        self, flow: Flow, sock_cookie: int | Unknown, decision: Decision, now_ns: int
    ) -> bool:
        """Remember a decision; True if the same socket had the same one on this flow just now."""
        if isinstance(sock_cookie, Unknown):
            return False
        last = self._decided.get(flow)
        if last is not None and last.sock_cookie == sock_cookie and last.decision == decision:
            self._decided.move_to_end(flow)
            if now_ns - last.recorded_ns < RECORD_AGAIN_NS:
                return True
        self._decided[flow] = Decided(sock_cookie, decision, now_ns)
        self._decided.move_to_end(flow)
        if len(self._decided) > MAX_DECIDED:
            self._decided.popitem(last=False)
        return False

    def trusts(self, flow: Flow, sock_cookie: int, now_ns: int) -> bool:
        """Remember that *flow* is trusted; True if the kernel should be told so (again).

        TCP needs none: conntrack takes a TCP connection's end and its beginning for what they are.
        What was queued before the kernel heard of it still comes; and after a long silence
        conntrack has forgotten the flow. So it is told again, but not for each packet.
        """
        if flow.proto == Protocol.TCP:
            return False
        flows = self._trusted.get(sock_cookie, {})
        if flow not in flows and not self._has_room(flows):
            return False
        if now_ns - flows.get(flow, now_ns - TRUST_AGAIN_NS) < TRUST_AGAIN_NS:
            return False
        flows[flow] = now_ns
        self._trusted[sock_cookie] = flows
        return True

    def _has_room(self, flows: dict[Flow, int]) -> bool:
        """Whether a socket with these trusted flows may have one more."""
        return len(flows) < MAX_FLOWS_OF_SOCKET and (
            bool(flows) or len(self._trusted) < MAX_TRUSTED_SOCKETS
        )

    def closed(self, sock_cookie: int) -> list[Flow]:
        """Forget a closed socket; returns the flows of it that were trusted."""
        return list(self._trusted.pop(sock_cookie, {}))
