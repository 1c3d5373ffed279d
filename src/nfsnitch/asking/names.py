"""The names that are known, for clients who ask."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from nfsnitch.adapters.peer import Peer
from nfsnitch.asking.rows import page
from nfsnitch.core.flow import address_text
from nfsnitch.core.name_record import name_json
from nfsnitch.core.unknown import Unknown
from nfsnitch.naming.known import Place
from nfsnitch.naming.names import HostNames
from nfsnitch.protocol import MOST_NAMES, KnownNames, NamesRequest

_NS_PER_S = 1_000_000_000
_MOST_CHARACTERS = 500


class NameListing:
    """Lists them, some at a time."""

    def __init__(self, known: HostNames, now_ns: Callable[[], int]) -> None:
        """*now_ns*: the monotonic clock."""
        self._known = known
        self._now_ns = now_ns

    def reply(self, request: NamesRequest, _peer: Peer) -> KnownNames:
        """Return some of them."""
        now_ns = self._now_ns()
        some = islice(self._known.listing(now_ns), request.first, request.first + MOST_NAMES)
        return KnownNames(len(self._known), page(_row(place, now_ns) for place in some))


def _row(place: Place, now_ns: int) -> dict[str, Any]:
    netns = place.netns
    return {
        **name_json(place.name, now_ns),
        "address": address_text(place.address),
        "pid": place.pid,
        "start_time": place.start_time_ns,
        "exe": place.exe[:_MOST_CHARACTERS],
        "uid": place.uid,
        "netns": {"unknown": netns.reason} if isinstance(netns, Unknown) else netns,
        "counts_s": round(max(0, place.counts_ns - now_ns) / _NS_PER_S, 3),
    }
