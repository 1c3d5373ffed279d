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
    connections_of_watchers: int = 32
    """Open ones of those who may only watch: some are always left for those who may answer."""
    accepts_per_s: float = 1_000.0
    accepts_at_once: int = 200
    requests_per_s: float = 20.0
    """Of one uid; what is over waits."""
    requests_at_once: int = 40
    answerer_requests_per_s: float = 200.0
    """Of one uid that may answer: five hundred questions want five hundred answers."""
    answerer_requests_at_once: int = 400
    request_cpu_s: float = 0.005
    """CPU time; a request that takes n times as much counts as n."""
    answerer_request_cpu_s: float = 0.0025
    """The same, of those who may answer."""
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
        self._of: OrderedDict[tuple[int, bool], RateLimit] = OrderedDict()

    def take(self, uid: int, *, may_answer: bool = False) -> bool:
        """Whether *uid* may ask now; if so, it counts as asked."""
        return self._rate(uid, may_answer=may_answer).take()

    def charge(self, uid: int, cpu_s: float, *, may_answer: bool = False) -> None:
        """Count what a request has cost, where that was more than a request may cost."""
        limits = self._limits
        usual_s = limits.answerer_request_cpu_s if may_answer else limits.request_cpu_s
        if cpu_s > usual_s:
            self._rate(uid, may_answer=may_answer).charge(cpu_s / usual_s - 1)

    def _rate(self, uid: int, *, may_answer: bool) -> RateLimit:
        # By right, too: who has come to be allowed to answer is not held to what was before.
        rate = self._of.pop((uid, may_answer), None) or self._new_rate(may_answer=may_answer)
        self._of[uid, may_answer] = rate
        if len(self._of) > _REMEMBERED_USERS:
            self._of.popitem(last=False)
        return rate

    def _new_rate(self, *, may_answer: bool) -> RateLimit:
        limits = self._limits
        if may_answer:
            return RateLimit(limits.answerer_requests_per_s, limits.answerer_requests_at_once)
        return RateLimit(limits.requests_per_s, limits.requests_at_once)
