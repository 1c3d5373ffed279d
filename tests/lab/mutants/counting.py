"""Counters that do not count, one at a time."""

from __future__ import annotations

import collections
from types import SimpleNamespace

from lab.mutants.mutant import Fault, mutant
from nfsnitch import daemon
from nfsnitch.core.counters import Counter

_FOUND_BY: dict[Counter, tuple[str, ...]] = {
    Counter.PACKETS: ("ip/fragments",),
    Counter.ACCEPTED: ("tcp/retransmission-while-held",),
    Counter.DROPPED: ("tcp/denied-in-silence",),
    Counter.REJECTED: ("tcp/two-programs",),
    Counter.HELD: ("asking/held-limit",),
    Counter.JOINED: ("tcp/retransmission-while-held",),
    Counter.REPEATED: ("udp/request-without-reply",),
    Counter.TRUSTED: ("udp/port-reuse",),
    Counter.ASKED: ("asking/one-question-for-many",),
    Counter.ANSWERED: ("asking/one-question-for-many",),
    Counter.DISMISSED: ("asking/dismiss",),
    Counter.GONE: ("asking/gone",),
    Counter.UNANSWERED: ("asking/unanswered",),
    Counter.MALFORMED: ("ip/malformed-tcp",),
    Counter.HELD_LIMIT: ("asking/held-limit",),
    Counter.FLOWS_CUT: ("asking/reload-cuts",),
    Counter.RELOADS_REFUSED: ("asking/bad-reload-while-held",),
    Counter.QUESTIONS_REFUSED: ("names/refused-question",),
    Counter.ANSWERS_SENT: ("names/refused-question",),
    Counter.NAMES_READ: ("names/tls-name",),
    Counter.NAMES_LEARNED: ("names/forged-answers",),
    Counter.NAMES_UNASKED: ("names/forged-answers",),
    Counter.DNS_UNASKED: ("names/forged-answers",),
    Counter.OPENINGS: ("local/packet-socket",),
    Counter.CACHED: ("tcp/denied-in-silence",),
    Counter.BYPASSED: ("failing/kill-fails-open",),
    Counter.UNHEARD: ("failing/kill-fails-closed",),
    Counter.QUEUE_DROPPED: ("failing/queue-full-closed",),
}


def _forgetting(name: Counter) -> Fault:
    class Forgetful(collections.Counter[Counter]):
        """Counts all but one thing."""

        def __setitem__(self, key: Counter, number: int) -> None:
            if key is not name:
                super().__setitem__(key, number)

    def put_in() -> None:
        vars(daemon)["collections"] = SimpleNamespace(Counter=Forgetful)

    return put_in


for _name, _scenarios in _FOUND_BY.items():
    mutant(f"uncounted-{_name}", f"the counter {_name} stays 0", *_scenarios)(_forgetting(_name))
