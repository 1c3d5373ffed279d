"""kill -9, again and again, while programs go on sending: what leaves, and what is counted."""

from __future__ import annotations

import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.adapters.instance import RUN_DIRECTORY
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import SERVER, World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
]

EACH_QUEUED = ("--no-cache",)  # the ledger, and the order of records, are the queue's
KILLS = 50
ALLOWED, DENIED = 5_001, 5_002
RULES = f"""
fail: {{}}
default: deny
unattributed: deny
rules:
  - {{{{name: echo, action: allow, proto: tcp, dport: {ECHO_PORT}}}}}
  - {{{{name: allowed, action: allow, proto: udp, dport: {ALLOWED}}}}}
  - {{{{name: denied, action: deny, proto: udp, dport: {DENIED}}}}}
"""
RESTART_S = 2.0
STALL_S = 1.0

# Says for each datagram when the kernel received it (ns since 1970), its source port and its port.
RECEIVER = """
import select, socket, struct, sys
SO_TIMESTAMPNS = 35
sockets = {}
poll = select.poll()
for port in map(int, sys.argv[1:]):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    one.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    one.bind(("", port))
    sockets[one.fileno()] = one, port
    poll.register(one, select.POLLIN)
print("ready", flush=True)
while True:
    for fd, _ in poll.poll():
        one, port = sockets[fd]
        _, [(_, _, stamp)], _, (_, sport) = one.recvmsg(2048, 100)
        seconds, nanoseconds = struct.unpack("qq", stamp)
        print(seconds * 10**9 + nanoseconds, sport, port, flush=True)
"""
# Sends datagrams from a new port each, now to one port, now to another, until SIGTERM; then says
# how many it tried to send.
SENDER = """
import signal, socket, sys, time
daddr, *ports = sys.argv[1], *map(int, sys.argv[2:])
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
tried, sport = 0, 10_000
while going:
    for port in ports:
        sport = sport + 1 if sport < 60_000 else 10_000
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("", sport))
            tried += 1
            try:
                one.sendto(b"x", (daddr, port))
            except OSError:
                pass
    time.sleep(0.004)
print(tried)
"""
# Sends a byte over one TCP connection, waits for it to come back, over and over, until SIGTERM;
# then says how often, and how long the longest took.
TALKER = """
import signal, socket, sys, time
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as sock:
    print("connected", flush=True)
    times, longest = 0, 0.0
    while going:
        began = time.monotonic()
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        times, longest = times + 1, max(longest, time.monotonic() - began)
        time.sleep(0.002)
print(times, longest)
"""


@dataclass(frozen=True)
class Arrival:
    """A datagram that the server got."""

    time_ns: int
    sport: int
    dport: int


@dataclass
class Story:
    """What happened in a series of kills."""

    gaps: list[tuple[int, int]] = field(default_factory=list)
    """From when a daemon was gone to when the next one was started, ns since 1970."""
    kills_ns: list[int] = field(default_factory=list)
    """When each was gone: until then, what it had let out arrived."""
    restarts_s: list[float] = field(default_factory=list)
    """From start to ready, without the time that other programs had the CPU."""
    arrivals: list[Arrival] = field(default_factory=list)
    records: list[Json] = field(default_factory=list)
    tried: int = 0
    evaluated: int = 0
    talks: int = 0
    longest_talk_s: float = 0.0

    def in_gaps(self) -> list[Arrival]:
        """Return what arrived while no daemon was there."""
        return [
            each
            for each in self.arrivals
            if any(began < each.time_ns < ended for began, ended in self.gaps)
        ]

    def unrecorded(self) -> list[Arrival]:
        """Return what arrived without a record, but for the last ones before a kill.

        Records are written in order, some time after the verdict: the last ones die with it.
        """
        recorded = {(record["sport"], record["dport"]) for record in self.records}
        lost: list[Arrival] = []
        in_order = sorted(self.arrivals, key=lambda each: each.time_ns)
        for began_ns, killed_ns in pairwise([0, *self.kills_ns, sys.maxsize]):
            of_one = [each for each in in_order if began_ns < each.time_ns <= killed_ns]
            is_last = killed_ns != sys.maxsize
            for each in reversed(of_one):
                is_recorded = (each.sport, each.dport) in recorded
                is_last = is_last and not is_recorded
                if not is_recorded and not is_last:
                    lost.append(each)
        return lost


def python(script: str, *args: str | int) -> list[str]:
    return [sys.executable, "-I", "-S", "-u", "-c", script, *map(str, args)]


def started(world: World, argv: list[str], word: str, netns: str = "client") -> Child:
    child = world.spawn(argv, netns=netns)
    child.wait_for_line(child.stdout, lambda line: line == word, 20)
    return child


def waited_for_cpu_s(child: Child) -> float:
    """Return how long other programs had the CPU that it was ready to run on."""
    return int(Path(f"/proc/{child.pid}/schedstat").read_text("ascii").split()[1]) / 1e9


def killed_again_and_again(world: World, rules: Path, story: Story) -> Firewall:
    """Start and kill the daemon `KILLS` times, and return the one after."""
    while True:
        firewall = Firewall(world, [rules], extra=EACH_QUEUED)
        began = time.monotonic()
        firewall.start()
        if story.kills_ns:
            elapsed_s = time.monotonic() - began
            story.restarts_s.append(elapsed_s - waited_for_cpu_s(firewall.child))
        if len(story.kills_ns) == KILLS:
            return firewall
        # Under load: not before it has decided something.
        firewall.wait_for_records(lambda record: record["rule"] == "allowed", 5)
        firewall.child.stop(signal.SIGKILL)
        gone_ns = time.time_ns()
        story.kills_ns.append(gone_ns)
        story.records += firewall.records
        # Nobody is there for a moment.
        time.sleep(0.05)
        story.gaps.append((gone_ns, time.time_ns()))


def told(world: World, rules: Path) -> tuple[Story, dict[Counter, int]]:
    """Let programs send while the daemon is killed; return what happened."""
    story = Story()
    receiver = started(world, python(RECEIVER, ALLOWED, DENIED), "ready", SERVER)
    with Firewall(world, [rules], extra=EACH_QUEUED):
        talker = started(world, python(TALKER, "192.0.2.1", ECHO_PORT), "connected")
    first = Firewall(world, [rules], extra=EACH_QUEUED)
    first.start()
    sender = world.spawn(python(SENDER, "192.0.2.1", ALLOWED, DENIED))
    first.wait_for_records(lambda record: record["rule"] == "denied", 5)
    first.child.stop(signal.SIGKILL)
    story.kills_ns.append(time.time_ns())
    story.records += first.records
    last = killed_again_and_again(world, rules, story)
    sender.stop()
    story.tried = int(sender.stdout.lines()[-1])
    talker.stop()
    times, longest = talker.stdout.lines()[-1].split()
    story.talks, story.longest_talk_s = int(times), float(longest)
    counters = counted(last.stop())
    story.records += last.records
    ledger = Ledger(world.netns_inode("client"), RUN_DIRECTORY)
    story.evaluated = ledger.evaluated
    ledger.close()
    receiver.stop(signal.SIGKILL)
    story.arrivals = [Arrival(*map(int, line.split())) for line in receiver.stdout.lines()[1:]]
    return story, counters


def assert_carried_on(story: Story) -> None:
    """Check that connections from before went on, and that no restart took long."""
    assert len(story.kills_ns) == KILLS
    assert story.talks > KILLS
    assert story.longest_talk_s < STALL_S
    assert max(story.restarts_s) < RESTART_S, statistics.quantiles(story.restarts_s)


def assert_all_accounted_for(story: Story, counters: dict[Counter, int]) -> None:
    """Check that each datagram had a verdict, or was counted by name."""
    lost = (Counter.UNHEARD, Counter.BYPASSED, Counter.CAUGHT, Counter.QUEUE_DROPPED)
    counted_in_all = story.evaluated + sum(counters[name] for name in lost)
    assert story.tried == counted_in_all + counters[Counter.QUEUE_USER_DROPPED]


@pytest.mark.timeout(300)
def test_killed_fifty_times_under_load_it_lets_nothing_new_pass_that_it_did_not_judge(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    story, counters = told(world, rules(RULES.format("closed")))

    assert_carried_on(story)
    assert story.in_gaps() == []
    assert story.unrecorded() == []
    assert {each.dport for each in story.arrivals} == {ALLOWED}
    assert len(story.arrivals) > KILLS
    assert counters[Counter.UNHEARD] > KILLS
    assert counters[Counter.BYPASSED] == 0
    assert_all_accounted_for(story, counters)


@pytest.mark.timeout(300)
def test_killed_fifty_times_with_fail_open_it_counts_what_passes_meanwhile(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    story, counters = told(world, rules(RULES.format("open")))

    assert_carried_on(story)
    passed = story.in_gaps()
    assert {each.dport for each in passed} == {ALLOWED, DENIED}
    # Before and after a gap, too, there are moments without a worker.
    assert len(passed) <= counters[Counter.BYPASSED]
    unjudged = [each for each in story.arrivals if each.dport == DENIED]
    assert len(unjudged) <= counters[Counter.BYPASSED] <= story.tried
    assert_all_accounted_for(story, counters)
