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
        self._trusted: dict[int, list[Flow]] = {}

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

    def may_trust(self, flow: Flow, sock_cookie: int) -> bool:
        """Remember that *flow* is about to be trusted; False where that is not for this flow.

        TCP needs none: conntrack takes a TCP connection's end and its beginning for what they are.
        """
        if flow.proto == Protocol.TCP:
            return False
        flows = self._trusted.get(sock_cookie)
        if flows is None:
            if len(self._trusted) >= MAX_TRUSTED_SOCKETS:
                return False
            flows = self._trusted[sock_cookie] = []
        if flow in flows or len(flows) >= MAX_FLOWS_OF_SOCKET:
            return flow in flows
        flows.append(flow)
        return True

    def closed(self, sock_cookie: int) -> list[Flow]:
        """Forget a closed socket; returns the flows of it that were trusted."""
        return self._trusted.pop(sock_cookie, [])
