"""What nfsnitch sends itself: whoever names a list by its URL wants it to be fetched."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.conditions import is_process
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.owner import Finding, Process

_USUAL_PORTS = frozenset({53, 80, 443})
"""Of DNS, and of http and https, to where a redirection may lead."""
_PROTOCOLS = frozenset({Protocol.TCP, Protocol.UDP})


class Fetching(NamedTuple):
    """The process that fetches a list, and nothing else."""

    pid: int
    start_time_ns: int
    port: int
    """Where the list is."""


class Own:
    """The one process of ours that may connect while it works, whatever the rules say."""

    def __init__(self) -> None:
        self.fetching: Fetching | None = None
        """None: nothing is being fetched."""

    def sends(self, flow: Flow, found: Finding) -> bool:
        """Whether it is surely that process which sends, to where a list may be."""
        fetching = self.fetching
        if fetching is None or found.rivals or not isinstance(found.owner, Process):
            return False
        if flow.proto not in _PROTOCOLS:
            return False
        if flow.dport != fetching.port and flow.dport not in _USUAL_PORTS:
            return False
        return is_process(found.owner, fetching.pid, fetching.start_time_ns)
