"""The worker: whatever goes wrong on a packet's way, it ends in one verdict."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from builders import instant, live_flow, process
from fakes import FakeQueue
from nfsnitch.adapters.nfqueue import QueuedPacket
from nfsnitch.core.commands import Command, CutDone, CutFlow
from nfsnitch.core.conditions import ValueCondition, read_script
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import FlowArrived, Instant
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.core.owner import Attribution, Finding, Forwarded, Process
from nfsnitch.core.passage import Passage
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.unknown import Unknown
from nfsnitch.worker import Ports, Worker

UDP_PACKET = bytes.fromhex(
    "4500002400010000401100000a0000010a000002"  # 10.0.0.1 to 10.0.0.2
    "13880035001000006162636465666768"  # port 5000 to 53
)


@dataclass
class Outside:
    """Everything around the worker, and what it was told."""

    now: Instant = field(default_factory=instant)
    find_owner: Callable[[Flow], Finding] = lambda _flow: Finding(
        process(), Attribution.FLOW_MAP, 1
    )
    trust: Callable[[Flow], bool] = lambda _flow: True
    queue: FakeQueue = field(default_factory=FakeQueue)
    records: list[Record] = field(default_factory=list)
    timers: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    counters: collections.Counter[Counter] = field(default_factory=collections.Counter)
    distrusted: list[Flow] = field(default_factory=list)
    judged: list[bytes] = field(default_factory=list)
    cuts: list[CutFlow] = field(default_factory=list)
    cut_done: CutDone = field(default_factory=lambda: CutDone(refused=True, spared=False))
    write_record: Callable[[Record], None] | None = None
    cwd_of: Callable[[Process], str | Unknown] = lambda _process: Unknown("not in this test")

    def distrust(self, flow: Flow) -> bool:
        """Take note."""
        self.distrusted.append(flow)
        return True

    def judge(self, entry: bytes) -> bool:
        """Take note."""
        self.judged.append(entry)
        return True

    def cut(self, command: CutFlow) -> CutDone:
        """Take note."""
        self.cuts.append(command)
        return self.cut_done

    def worker(self, ruleset: Ruleset) -> Worker:
        """Return a worker wired to all this."""
        ports = Ports(
            give_verdict=self.queue.give_verdict,
            find_owner=self.find_owner,
            iface_name=lambda _ifindex: "eth0",
            write_record=self.write_record or self.records.append,
            trust=self.trust,
            distrust=self.distrust,
            judge=self.judge,
            cut=self.cut,
            wake_at=lambda when, callback: self.timers.append((when, callback)),
            now=lambda: self.now,
            cwd_of=self.cwd_of,
            find_forwarded=lambda _flow, _passage: Finding(
                Forwarded("for the test"), Attribution.NONE, Unknown("for the test")
            ),
        )
        return Worker(Engine(ruleset, netns=1), ports, self.counters)


ALLOW = Ruleset(default=Action.ALLOW)
ASK = Ruleset(default=Action.ASK, ask_timeout_ns=1_000_000_000)


def test_a_packet_is_parsed_attributed_decided_and_recorded() -> None:
    outside = Outside()
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.queue.verdicts == {1: Verdict.ACCEPT}
    (record,) = outside.records
    assert isinstance(record.flow, Flow)
    assert (record.flow.proto, record.flow.sport, record.flow.dport) == (Protocol.UDP, 5000, 53)
    assert record.owner == process()
    assert outside.counters[Counter.PACKETS] == 1


def test_a_program_that_has_been_decided_about_waits_for_its_verdict_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curl, outside = process(), Outside()
    outside.find_owner = lambda _flow: Finding(curl, Attribution.FLOW_MAP, 1)
    worker, real, given = outside.worker(ALLOW), Engine.after, list[dict[int, Verdict]]()

    def after(engine: Engine, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        given.append(dict(outside.queue.verdicts))
        return real(engine, arrival, ruling)

    monkeypatch.setattr(Engine, "after", after)
    for _ in range(2):
        outside.queue.send(UDP_PACKET)
        outside.queue.drain(worker.packet_arrived)

    assert given == [{}, {1: Verdict.ACCEPT, 2: Verdict.ACCEPT}]
    assert outside.counters[Counter.ACCEPTED] == 2
    assert outside.counters[Counter.PACKETS] == 2


def test_a_forwarded_packet_is_looked_up_by_its_passage_and_recorded_with_it() -> None:
    outside = Outside()
    worker = outside.worker(ALLOW)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(
        lambda packet: worker.packet_arrived(
            QueuedPacket(packet.packet_id, packet.payload, 2, lambda _flow: Passage(5))
        )
    )

    assert outside.queue.verdicts == {1: Verdict.ACCEPT}
    (record,) = outside.records
    told = record.as_json()
    assert (told["owner"], told["iface_in"], told["iface"]) == ("forwarded", "eth0", "eth0")
    assert told["exe"] == {"unknown": "no process of this machine: for the test"}


@pytest.mark.parametrize("packet", [b"", b"\x45", b"\x00" * 40, UDP_PACKET[:22]])
def test_a_packet_that_cannot_be_read_is_dropped_and_counted(packet: bytes) -> None:
    outside = Outside()
    outside.queue.send(packet)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.queue.verdicts == {1: Verdict.DROP}
    assert outside.counters[Counter.MALFORMED] == 1
    assert outside.records[0].decision.reason is Reason.MALFORMED


def test_a_packet_whose_owner_cannot_be_looked_up_is_dropped_and_counted() -> None:
    def fails(_flow: Flow) -> Finding:
        raise OSError("for the test")

    outside = Outside(find_owner=fails)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.queue.verdicts == {1: Verdict.DROP}
    assert outside.counters[Counter.ERRORS] == 1
    assert outside.records[0].decision.reason is Reason.ERROR


def test_a_packet_on_which_the_rules_fail_is_dropped_and_the_next_one_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = Outside()
    worker = outside.worker(ALLOW)
    outside.queue.send(UDP_PACKET)
    with monkeypatch.context() as broken:
        broken.setattr(Ruleset, "rule_on", lambda *_: 1 / 0)
        outside.queue.drain(worker.packet_arrived)
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)

    assert outside.queue.verdicts == {1: Verdict.DROP, 2: Verdict.ACCEPT}
    assert outside.counters[Counter.ERRORS] == 1
    assert outside.counters[Counter.VERDICT_ERRORS] == 0


def test_a_packet_that_fails_after_its_verdict_has_one_verdict_and_counts_one_error() -> None:
    def fails(_record: Record) -> None:
        raise ValueError("for the test")

    outside = Outside(write_record=fails)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.queue.verdicts == {1: Verdict.ACCEPT}
    assert outside.counters[Counter.ERRORS] == 1
    assert outside.counters[Counter.VERDICT_ERRORS] == 0


@pytest.mark.parametrize("problem", [OSError("for the test"), RuntimeError("for the test")])
def test_a_drop_that_the_kernel_does_not_take_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refused(_packet_id: int, _verdict: Verdict) -> None:
        raise problem

    outside = Outside()
    monkeypatch.setattr(outside.queue, "give_verdict", refused)
    monkeypatch.setattr(Ruleset, "rule_on", lambda *_: 1 / 0)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)  # does not raise

    assert outside.counters[Counter.ERRORS] == 1


@pytest.mark.parametrize("problem", [OSError("for the test"), RuntimeError("for the test")])
def test_a_verdict_that_the_kernel_does_not_take_is_counted_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refused(_packet_id: int, _verdict: Verdict) -> None:
        raise problem

    outside = Outside()
    monkeypatch.setattr(outside.queue, "give_verdict", refused)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.counters[Counter.VERDICT_ERRORS] == 1
    assert outside.counters[Counter.ERRORS] == 0
    assert len(outside.records) == 1


def test_a_held_packet_that_has_had_its_verdict_keeps_no_other_from_its_own() -> None:
    outside = Outside()
    worker = outside.worker(ASK)
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)
    outside.queue.drop_all()
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)

    worker.stop()

    assert outside.queue.waiting == 0


def test_a_held_packet_gets_its_verdict_when_its_timer_comes() -> None:
    outside = Outside()
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(outside.worker(ASK).packet_arrived)
    assert outside.queue.verdicts == {}

    ((when, callback),) = outside.timers
    outside.now = instant(1)
    callback()

    assert when == instant(1).monotonic_ns
    assert outside.queue.verdicts == {1: Verdict.DROP}
    assert outside.records[0].decision.reason is Reason.UNANSWERED


def test_a_timer_that_another_has_replaced_does_nothing() -> None:
    outside = Outside()
    worker = outside.worker(ASK)
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)
    ((_, callback),) = outside.timers
    outside.now = instant(1)
    callback()

    callback()

    assert len(outside.timers) == 1
    assert len(outside.records) == 1


def test_a_stop_gives_every_held_packet_its_verdict() -> None:
    outside = Outside()
    worker = outside.worker(ASK)
    outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)

    worker.stop()

    assert outside.queue.verdicts == {1: Verdict.DROP}
    assert outside.queue.waiting == 0


def test_a_working_directory_is_looked_up_only_where_a_rule_names_a_script() -> None:
    asked: list[int] = []

    def cwd_of(found: Process) -> str:
        asked.append(found.pid)
        return "/opt"

    python = replace(process("/usr/bin/python3"), args=("python3", "x.py"))
    curl = process("/usr/bin/curl", pid=7)
    by_script = Rule(
        "x", Action.DENY, (ValueCondition("script", read_script, {"/opt/x.py"}),), "test:1"
    )
    for rules, expected in (((), Verdict.ACCEPT), ((by_script,), Verdict.DROP)):
        outside = Outside(
            find_owner=lambda _: Finding(curl, Attribution.FLOW_MAP, 1, (python,)), cwd_of=cwd_of
        )
        outside.queue.send(UDP_PACKET)
        outside.queue.drain(outside.worker(Ruleset(rules, Action.ALLOW)).packet_arrived)
        assert outside.queue.verdicts == {1: expected}
    assert asked == [python.pid]


def test_trust_that_cannot_be_had_is_counted() -> None:
    outside = Outside(trust=lambda _flow: False)
    worker = outside.worker(ALLOW)
    for _ in range(TRUST_AFTER):
        outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)

    assert outside.counters[Counter.TRUST_ERRORS] == 1


def test_trust_is_taken_back_when_the_socket_closes() -> None:
    outside = Outside()
    worker = outside.worker(ALLOW)
    for _ in range(TRUST_AFTER):
        outside.queue.send(UDP_PACKET)
    outside.queue.drain(worker.packet_arrived)

    worker.sockets_closed([1])

    assert [flow.dport for flow in outside.distrusted] == [53]


def test_a_flow_whose_owner_is_unknown_is_counted() -> None:
    nobody = Finding(Unknown("for the test"), Attribution.NONE, Unknown("for the test"))
    outside = Outside(find_owner=lambda _flow: nobody)
    outside.queue.send(UDP_PACKET)

    outside.queue.drain(outside.worker(ALLOW).packet_arrived)

    assert outside.counters[Counter.UNATTRIBUTED] == 1
    assert outside.queue.verdicts == {1: Verdict.DROP}


DENY = Ruleset(default=Action.DENY)


@pytest.mark.parametrize(
    ("done", "counted"),
    [
        (CutDone(refused=True, spared=False), {}),
        (CutDone(refused=True, spared=True), {Counter.SOCKETS_SPARED: 1}),
        (CutDone(refused=False, spared=False), {Counter.CUT_ERRORS: 1}),
    ],
)
def test_a_flow_that_the_new_rules_refuse_is_cut_recorded_and_counted(
    done: CutDone, counted: dict[Counter, int]
) -> None:
    outside = Outside(cut_done=done)
    worker = outside.worker(ALLOW)

    worker.rules_changed(DENY, 2)
    worker.flow_reviewed(live_flow())

    assert [each.entry for each in outside.cuts] == [live_flow().entry]
    assert [(each.decision.reason, each.generation) for each in outside.records] == [
        (Reason.CUT, 2)
    ]
    expected = {Counter.FLOWS_CUT: 1} | counted
    assert {name: number for name, number in outside.counters.items() if number} == expected


def test_trust_that_nobody_else_would_withdraw_is_withdrawn() -> None:
    outside = Outside()

    outside.worker(ALLOW).flow_reviewed(live_flow(labelled=True))

    assert outside.judged == [live_flow().entry]
    assert outside.cuts == []
