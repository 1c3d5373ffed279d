"""A million messages that mean no good, through the real decoder, server, people and engine.

The clients are processes of their own at a real socket. What is held stays held, what is decided
meanwhile is decided as ever, and nothing grows. The rates, which would make this last for hours,
are lifted; tests/netns/test_asking_fuzz.py has them.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import datagrams, process
from control_play import STATUS
from fakes import FakeQueue
from fuzz_messages import HELD, KEPT_RULE
from nfsnitch.adapters.answers_file import AnswersFile
from nfsnitch.adapters.control import ControlServer, Handlers
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.control_questions import QuestionStream
from nfsnitch.adapters.control_socket import ControlSocket
from nfsnitch.adapters.peer import Peer
from nfsnitch.adapters.rulefile import system_names
from nfsnitch.asking.book import AnswerBook
from nfsnitch.asking.people import Doing, People
from nfsnitch.core.case import Case
from nfsnitch.core.commands import CutDone
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import Instant, LiveFlow
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.lab.process import same_modules
from nfsnitch.protocol import Mode, Right
from nfsnitch.worker import Ports, Worker

MESSAGES = int(os.environ.get("NFSNITCH_FUZZ_MESSAGES", "1000000"))
SEEDS = {"watch": 20_261, "answer": 20_262}
NO_RATES = ControlLimits(
    connections_of_user=1_000,
    connections_of_others=1_000,
    connections_of_watchers=1_000,
    accepts_per_s=1e12,
    accepts_at_once=10**12,
    requests_per_s=1e12,
    requests_at_once=10**12,
    answerer_requests_per_s=1e12,
    answerer_requests_at_once=10**12,
)
HOUR_NS = 3_600_000_000_000
PLAIN_PORT = 53
TRAFFIC_S = 0.02
KEPT = f"version: 1\nrules:\n- name: {KEPT_RULE}\n  action: deny\n  dport: 9\n"


class ToPlainPort:
    """A condition for this test."""

    field = "dport"

    def matches(self, case: Case) -> bool:
        """Whether the flow is of the traffic that is decided meanwhile."""
        return case.flow.dport == PLAIN_PORT


RULES = Ruleset(
    rules=(Rule("plain", Action.ALLOW, (ToPlainPort(),), "test:1"),),
    default=Action.ASK,
    unanswered=Action.DENY,
    ask_timeout_ns=HOUR_NS,
)


def datagram(sport: int, dport: int) -> bytes:
    """Return a UDP packet from 10.0.0.1 to 10.0.0.2."""
    return b"".join(
        (
            bytes.fromhex("4500002400010000401100000a0000010a000002"),
            *(each.to_bytes(2, "big") for each in (sport, dport, 16, 0)),
            b"abcdefgh",
        )
    )


class CountingServer(ControlServer):
    """The control server, and how much it has had to do."""

    handled = 0
    longest_s = 0.0

    def spent(self, uid: int, rights: frozenset[Right], cpu_s: float) -> None:
        """Count a message, each of which is told here."""
        self.handled += 1
        self.longest_s = max(self.longest_s, cpu_s)
        super().spent(uid, rights, cpu_s)


class Daemon:
    """What the daemon has, without a kernel."""

    def __init__(self, folder: Path) -> None:
        """Keep answers in *folder*, and listen there."""
        self.loop = asyncio.new_event_loop()
        self.failures: list[object] = []
        self.loop.set_exception_handler(lambda _loop, context: self.failures.append(context))
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.queue, self.records = FakeQueue(), list[Record]()
        self.answers = folder / "answers.yaml"
        self.answers.write_text(KEPT, "ascii")
        self.book = AnswerBook(AnswersFile(self.answers), system_names(), lambda _process: True)
        self.book.refresh()
        self.engine = Engine(RULES.with_answers(self.book.rules()), netns=1)
        self.people = People(self.engine, self.book, _now)
        self.worker = Worker(self.engine, self._ports(), self.counters)
        self.watchers: set[int] = set()
        """Processes that may only watch."""
        self.path = folder / "control.sock"
        self.server = CountingServer(
            self.loop, ControlSocket(self.path), self._handlers(), self.counters, NO_RATES
        )
        self.server.rights_of = self._rights_of
        self.people.begin(
            Doing(self.worker, self._changed, self._changed, self._live, self._stream())
        )
        self.changes = 0
        self.plain = 0
        self.server.start()

    def hold(self) -> None:
        """Let programs ask."""
        for number in range(HELD):
            self.queue.send(datagram(2_000 + number, 3_000 + number))
        self.queue.drain(self.worker.packet_arrived)

    def traffic(self) -> None:
        """Decide one more packet of somebody else, and go on doing so."""
        self.plain += 1
        self.queue.send(datagram(20_000 + self.plain % 10_000, PLAIN_PORT))
        self.queue.drain(self.worker.packet_arrived)
        self.loop.call_later(TRAFFIC_S, self.traffic)

    def close(self) -> None:
        """End."""
        self.server.close()
        self.loop.close()

    def _ports(self) -> Ports:
        return Ports(
            give_verdict=self.queue.give_verdict,
            find_owner=_owner_of,
            iface_name=lambda _ifindex: "eth0",
            write_record=self._record,
            trust=lambda _flow: True,
            distrust=lambda _flow: True,
            judge=lambda _entry: True,
            cut=lambda _command: CutDone(refused=True, spared=False),
            wake_at=lambda _when, _callback: None,
            now=_now,
            tell_people=self.people.tell,
        )

    def _handlers(self) -> Handlers:
        return Handlers(
            lambda: STATUS, self._changed, None, None, self.people.source, self.people.others
        )

    def _stream(self) -> QuestionStream:
        return self.server.questions

    def _record(self, record: Record) -> None:
        self.people.record(record)
        self.server.record(record)
        if record.decision.reason is not Reason.RULE or record.decision.rule != "plain":
            self.records.append(record)

    def _rights_of(self, peer: Peer) -> frozenset[Right]:
        may_only_watch = peer.pid in self.watchers
        return frozenset({Right.WATCH} if may_only_watch else {Right.WATCH, Right.ANSWER})

    def _changed(self) -> None:
        self.changes += 1

    def _live(self) -> Iterator[LiveFlow | None]:
        for number in range(50):
            flow = datagrams(sport=number)
            yield LiveFlow(flow, _owner_of(flow), "eth0", labelled=True, is_cut=False, entry=b"")


def _now() -> Instant:
    return Instant(time.monotonic_ns(), time.time_ns())


def _owner_of(flow: Flow) -> Finding:
    owner = process(f"/usr/bin/program-{flow.dport}")
    return Finding(owner, Attribution.FLOW_MAP, int(str(flow.sport)))


async def fuzzed(daemon: Daemon, role: str, count: int) -> dict[str, int]:
    """Let a client say so much; return what was answered."""
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).parents[1] / "fuzz_client.py")),
        *(str(daemon.path), str(SEEDS[role]), str(count), role),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, **same_modules()},
    )
    if role == "watch":
        daemon.watchers.add(client.pid)
    out, _ = await client.communicate()
    assert client.returncode == 0
    answers: dict[str, int] = json.loads(out)
    return answers


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_million_messages_change_nothing_and_cost_nothing_that_lasts(daemon: Daemon) -> None:
    daemon.hold()
    held = [(each.number, each.flows, each.flow) for each in daemon.engine.questions]
    rules, counted = daemon.book.rules(), daemon.counters.copy()
    daemon.loop.call_soon(daemon.traffic)

    async def fuzz(count: int) -> dict[str, dict[str, int]]:
        """Both at once, half of it each."""
        roles = list(SEEDS)
        answers = await asyncio.gather(*(fuzzed(daemon, role, count // 2) for role in roles))
        return dict(zip(roles, answers, strict=True))

    daemon.loop.run_until_complete(fuzz(MESSAGES // 20))
    descriptors, memory_kib = open_descriptors(), resident_kib()
    answers = daemon.loop.run_until_complete(fuzz(MESSAGES))
    gc.collect()
    grown_kib = resident_kib() - memory_kib
    say(f"seeds {SEEDS}; {answers}; {daemon.server.handled} messages, the longest took")
    say(f"{daemon.server.longest_s * 1e3:.0f} ms; {grown_kib} KiB more; {daemon.plain} packets")

    answered = sum(sum(each.values()) for each in answers.values())
    assert answered >= MESSAGES
    assert daemon.server.handled >= answered
    assert {"answered", "mode-set", "rule-set", "revoked"}.isdisjoint(answers["watch"])
    assert {"mode-set", "rule-set", "revoked"}.isdisjoint(answers["answer"])
    assert daemon.failures == []
    assert daemon.counters[Counter.CONTROL_ERRORS] == 0
    assert [(each.number, each.flows, each.flow) for each in daemon.engine.questions] == held
    assert len(held) == daemon.queue.waiting == HELD
    assert daemon.records == []
    assert set(daemon.queue.verdicts.values()) == {Verdict.ACCEPT}
    assert len(daemon.queue.verdicts) == daemon.plain > 100
    assert daemon.counters[Counter.ANSWERED] == counted[Counter.ANSWERED] == 0
    assert (daemon.engine.mode, daemon.changes) == ((Mode.ASK, None), 0)
    assert daemon.book.rules() == rules
    assert daemon.answers.read_text("ascii") == KEPT
    assert open_descriptors() <= descriptors
    assert grown_kib < 20_000
    assert daemon.server.longest_s < 1


def say(text: str) -> None:
    """Tell whoever runs the tests, or reads why one failed."""
    sys.stdout.write(f"{text}\n")


def open_descriptors() -> int:
    """Return how many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kib() -> int:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() // 1024
