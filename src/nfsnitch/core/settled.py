"""Answers that hold for one flow of one socket, as long as that is open.

The packets that waited have their verdict; those that come after them, a SYN sent again or the next
datagram, must not be asked about once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import KeysView

from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Finding
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.settings import Limits
from nfsnitch.core.unknown import Unknown


class Settled:
    """The last answers by flow and socket: a bounded number, the oldest are forgotten."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._rulings: OrderedDict[tuple[Flow, int], Ruling] = OrderedDict()
        self._of_socket: dict[int, set[Flow]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rulings)

    def note(self, flow: Flow, found: Finding, ruling: Ruling) -> None:
        """Remember what was answered, where it can be told whose the next packet is."""
        cookie = found.sock_cookie
        if isinstance(cookie, Unknown) or found.is_closed or found.rivals:
            return
        self._rulings[flow, cookie] = ruling
        self._rulings.move_to_end((flow, cookie))
        self._of_socket.setdefault(cookie, set()).add(flow)
        while len(self._rulings) > self.limits.decided_flows:
            (oldest, its_cookie), _ = self._rulings.popitem(last=False)
            self._forget(oldest, its_cookie)

    def ruling(self, flow: Flow, found: Finding) -> Ruling | None:
        """Return what was answered for this flow."""
        cookie = found.sock_cookie
        if not self._rulings or isinstance(cookie, Unknown) or found.rivals:
            return None
        return self._rulings.get((flow, cookie))

    @property
    def sockets(self) -> KeysView[int]:
        """Those for which there is an answer."""
        return self._of_socket.keys()

    def closed(self, cookie: int) -> None:
        """Forget the answers for a socket that is closed."""
        for flow in self._of_socket.pop(cookie, ()):
            del self._rulings[flow, cookie]

    def _forget(self, flow: Flow, cookie: int) -> None:
        flows = self._of_socket[cookie]
        flows.discard(flow)
        if not flows:
            del self._of_socket[cookie]
