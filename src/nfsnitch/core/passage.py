"""The way by which a packet came that this machine forwards."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.flow import Flow


class Passage(NamedTuple):
    """Where a forwarded packet came in, and what it was like then."""

    ifindex: int
    """The interface that it came in by."""
    port: int = 0
    """If that is a bridge, its port; 0: not known (which takes the kernel's ``br_netfilter``)."""
    sent: Flow | None = None
    """What it was before its destination was translated; None: it has not been."""
