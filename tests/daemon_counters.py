"""Reads the counters that the daemon prints when it stops."""

from __future__ import annotations

import collections
import re

from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Stopped


def counted(stopped: Stopped) -> collections.Counter[Counter]:
    """Return the counters in the daemon's last words."""
    found = re.search(r"nfsnitch: stopped \((?P<counts>.*)\)", stopped.stderr)
    assert found, stopped.stderr
    pairs = re.findall(r"([a-z-]+) (\d+)", found["counts"])
    return collections.Counter({Counter(name): int(number) for name, number in pairs})


def assert_one_verdict_each(counters: collections.Counter[Counter]) -> None:
    """Every packet that reached the worker got one verdict, and the kernel lost none."""
    verdicts = (Counter.ACCEPTED, Counter.DROPPED, Counter.REJECTED)
    assert sum(counters[name] for name in verdicts) == counters[Counter.PACKETS]
    for name in (
        Counter.ERRORS,
        Counter.VERDICT_ERRORS,
        Counter.QUEUE_DROPPED,
        Counter.QUEUE_USER_DROPPED,
        Counter.NETLINK_OVERRUNS,
        Counter.RECORDS_DROPPED,
    ):
        assert counters[name] == 0, name
