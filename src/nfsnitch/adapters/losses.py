"""What became of the packets that no worker evaluated: told apart, and counted.

    picked by the rules = given a verdict + waiting in the queue
                        + let pass, or caught, by the rules      (nft's named counters)
                        + no room in the queue or the socket     (the queue's own counters)
                        + unheard: all the rest

All of it is since the rules in force began to count, whichever worker ran meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from nfsnitch.adapters.enforcement import Counts, Enforcement, EnforcementError
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.adapters.nfqueue import KernelCounters, PacketQueue
from nfsnitch.core.counters import Counter

_TRIES = 5


class Losses:
    """Reads the kernel's counters, and keeps the ledger."""

    def __init__(self, enforcement: Enforcement, queue: PacketQueue, ledger: Ledger) -> None:
        self._enforcement = enforcement
        self._queue = queue
        self._ledger = ledger
        self._before = KernelCounters(ledger.queue_dropped, ledger.user_dropped)
        self._errors = 0
        self._evaluated = -1
        """So many packets had a verdict when the kernel was asked last."""
        self._last: dict[Counter, int] = {}

    def begin(self) -> None:
        """Begin to count anew if no rules are in force: call it before they are put there."""
        if not self._enforcement.is_installed():
            self._ledger.clear()
            self._before = KernelCounters(0, 0)

    def note(self) -> None:
        """Keep for the next start what the kernel forgets with this process; call it often.

        The kernel drops no packet while none comes, and is not asked then.
        """
        evaluated = self._ledger.evaluated
        if evaluated == self._evaluated and not self._queue.waiting:
            return
        self._evaluated = evaluated
        try:
            self._noted()
        except OSError:
            self._errors += 1

    def counters(self) -> Mapping[Counter, int]:
        """Return all of it; what cannot be read now stays as it was, and that is counted."""
        try:
            self._look()
        except (OSError, EnforcementError):
            self._errors += 1
        return self._last | {
            Counter.COUNTER_ERRORS: self._errors,
            Counter.NETLINK_OVERRUNS: self._queue.overruns,
        }

    def _look(self) -> None:
        """Take the numbers at one moment: none of the queue's may change while nft is asked."""
        evaluated, queue = self._ledger.evaluated, self._noted()
        for _ in range(_TRIES):
            counts = self._enforcement.counts()
            if counts is None:  # removed: what it had counted stands
                break
            self._last[Counter.BYPASSED] = counts.bypassed
            self._last[Counter.CAUGHT] = counts.caught
            self._last[Counter.CACHED] = counts.cached
            before = evaluated, queue
            evaluated, queue = self._ledger.evaluated, self._noted()
            if before == (evaluated, queue):
                self._last[Counter.UNHEARD] = _unheard(counts, evaluated, queue)
                break
            # In a flood there is no such moment: the number from before is the one that is sure.
        self._last[Counter.QUEUE_DROPPED] = queue.queue_dropped
        self._last[Counter.QUEUE_USER_DROPPED] = queue.user_dropped

    def _noted(self) -> KernelCounters:
        own = self._queue.kernel_counters()
        in_all = own._replace(
            queue_dropped=self._before.queue_dropped + own.queue_dropped,
            user_dropped=self._before.user_dropped + own.user_dropped,
        )
        self._ledger.note_dropped(in_all.queue_dropped, in_all.user_dropped)
        return in_all


def _unheard(counts: Counts, evaluated: int, queue: KernelCounters) -> int:
    accounted = (
        *(evaluated, queue.waiting, queue.queue_dropped, queue.user_dropped),
        *(counts.bypassed, counts.caught),
    )
    return max(0, counts.judged - sum(accounted))
