"""How much of the daemon its clients may have."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from nfsnitch.adapters.rate_limit import RateLimit

_REMEMBERED_USERS = 256


@dataclass(frozen=True, slots=True)
class ControlLimits:
    """Bounds that no client can lift, whatever it sends or does not read."""

    connections_of_user: int = 16
    """Open ones, of one uid."""
    connections_of_others: int = 48
    """Open ones of everybody but root: some are always left for root."""
    accepts_per_s: float = 1_000.0
    accepts_at_once: int = 200
    requests_per_s: float = 20.0
    """Of one uid; what is over waits."""
    requests_at_once: int = 40
    answerer_requests_per_s: float = 200.0
    """Of one uid that may answer: five hundred questions want five hundred answers."""
    answerer_requests_at_once: int = 400
    silent_s: float = 5.0
    """So long a client may take for its first request."""
    idle_s: float = 60.0
    """So long for its next one, and to read the answer."""
    linger_s: float = 1.0
    """So long a refused client may take to read why."""
    retry_s: float = 1.0
    """So long nobody is taken after the machine had no descriptor left."""
    backlog_bytes: int = 128 << 10
    """Records that a watcher has not read; further ones are dropped for that watcher."""
    pending_records: int = 2_000
    """Records that have not been written as JSON yet; further ones are dropped for all watchers."""


class RequestRates:
    """How often each user may ask; outlives the connections, so that a new one is no way around."""

    def __init__(self, limits: ControlLimits) -> None:
        self._limits = limits
        self._of: OrderedDict[int, RateLimit] = OrderedDict()

    def take(self, uid: int, *, may_answer: bool = False) -> bool:
        """Whether *uid* may ask now; if so, it counts as asked."""
        rate = self._of.pop(uid, None)
        if rate is None:
            rate = self._rate(may_answer=may_answer)
        self._of[uid] = rate
        if len(self._of) > _REMEMBERED_USERS:
            self._of.popitem(last=False)
        return rate.take()

    def _rate(self, *, may_answer: bool) -> RateLimit:
        limits = self._limits
        if may_answer:
            return RateLimit(limits.answerer_requests_per_s, limits.answerer_requests_at_once)
        return RateLimit(limits.requests_per_s, limits.requests_at_once)
