"""More new flows than the worker can judge: what is lost is counted, and all else goes on."""

from __future__ import annotations

import re
import time
from collections import Counter as Tally
from pathlib import Path

import pytest

from broken_daemon import SLOW, broken
from builders import WriteRules
from daemon_asks import ask
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import Services
from nfsnitch.lab.waiting import Deadline
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
]

FLOWS = 200_000
BURST, PAUSE_US = 500, 8_000
RULES = """
fail: {}
default: deny
unattributed: deny
rules: []
"""
ANSWER_S = 1.0
GROWTH_KIB = 60_000
"""In 32,768 packets that wait, handed out and not: their payload, and what Python makes of it."""


class Asked:
    """Asks the daemon for its status, over and over, each time as `nfsnitch status` does."""

    def __init__(self, world: World, pid: int) -> None:
        self._world = world
        self._pid = pid
        self.longest_s = 0.0
        """From the connection to the answer, without the time that other programs had the CPU."""
        self.times = 0

    def ask(self) -> Tally[Counter]:
        """Return its counters."""
        began_s = time.monotonic() - self._waited_for_cpu_s()
        counters = ask(self._world).counters
        took_s = time.monotonic() - self._waited_for_cpu_s() - began_s
        self.longest_s = max(self.longest_s, took_s)
        self.times += 1
        return Tally({Counter(name): number for name, number in counters.items()})

    def _waited_for_cpu_s(self) -> float:
        """Return how long the daemon was ready to run, and another program ran."""
        fields = Path(f"/proc/{self._pid}/schedstat").read_text("ascii").split()
        return int(fields[1]) / 1e9


def resident_kib(pid: int) -> int:
    """Return how much memory a process has."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_of_a_flood_of_new_flows_each_packet_is_judged_or_counted(
    world: World,
    services: Services,
    rules: WriteRules,
    fail: str,
) -> None:
    assert services.echo.pid
    with broken(Firewall(world, [rules(RULES.format(fail))]), SLOW) as firewall:
        asked = Asked(world, firewall.child.pid)
        before_kib = most_kib = resident_kib(firewall.child.pid)
        argv = [str(build_program("flood")), "192.0.2.1", "20000"]
        flood = world.spawn([*argv, str(FLOWS), str(BURST), str(PAUSE_US)])
        evaluated = (Counter.ACCEPTED, Counter.DROPPED, Counter.REJECTED)
        lost = (Counter.QUEUE_DROPPED, Counter.QUEUE_USER_DROPPED, Counter.BYPASSED)
        counters: Tally[Counter] = Tally()
        deadline = Deadline(200)
        while sum(counters[name] for name in (*evaluated, *lost)) < FLOWS:
            assert deadline.left_s(), counters
            counters = asked.ask()
            most_kib = max(most_kib, resident_kib(firewall.child.pid))
        done = flood.finish(30)
        counters = counted(firewall.stop())

    sent, refused = map(int, done.stdout.split())
    assert sent + refused == FLOWS
    assert counters[Counter.PACKETS] == sum(counters[name] for name in evaluated)
    assert counters[Counter.PACKETS] + sum(counters[name] for name in lost) == FLOWS
    assert (counters[Counter.UNHEARD], counters[Counter.CAUGHT]) == (0, 0)
    assert sum(counters[name] for name in lost) > FLOWS / 10
    assert (counters[Counter.BYPASSED] > 0) == (fail == "open")
    assert asked.longest_s < ANSWER_S
    assert asked.times > 10
    assert most_kib - before_kib < GROWTH_KIB
