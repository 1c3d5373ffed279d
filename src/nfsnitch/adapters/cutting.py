"""Ends flows that are under way: socket destroyed, conntrack entry deleted or refused."""

from __future__ import annotations

from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.sock_destroy import Destroyed, SockDestroy
from nfsnitch.core.commands import CutDone, CutFlow
from nfsnitch.core.flow import Protocol


class Cutting:
    """Cuts flows by what there is: the socket tables and conntrack."""

    def __init__(self, conntrack: Conntrack, sockets: SockDestroy) -> None:
        self._conntrack = conntrack
        self._sockets = sockets

    def cut(self, command: CutFlow) -> CutDone:
        """End a flow, so that nothing of it leaves any more that no rule allows."""
        if command.is_forwarded:
            # Its packets are refused one by one, those of a TCP connection with a reset for whoever
            # sends: the chain for forwarded packets goes by the label.
            return CutDone(self._conntrack.refuse(command.entry), spared=False)
        # The socket first: the reset that its peer gets passes as part of a known connection.
        destroyed = self._sockets.destroy(command.flow, command.sock_cookie)
        is_tcp = command.flow.proto == Protocol.TCP
        if is_tcp and destroyed in {Destroyed.DONE, Destroyed.GONE}:
            # That it is gone already is as good: it expires by itself.
            self._conntrack.delete(command.entry)
            return CutDone(refused=True, spared=False)
        # Here something can still send, and its peer too. Were the entry deleted, a packet from the
        # peer would make a new one, as of a connection from outside, and ours be its answers.
        refused = self._conntrack.refuse(command.entry)
        return CutDone(refused, spared=is_tcp)
