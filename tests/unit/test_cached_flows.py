"""What the kernel has decided by itself on its way to the records: whole, and in its order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from builders import NS_PER_S, WALL_NS, flow, image_key, process
from fakes import FakePrograms
from nfsnitch.adapters.bpf import layout
from nfsnitch.cached_flows import CachedFlows, Recorder
from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.events import FlowCached
from nfsnitch.core.flow import Flow, packed_address
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nfsnitch.ground import Ground

NOW = Instant(monotonic_ns=50 * NS_PER_S, wall_ns=WALL_NS)
NAMED = packed_address("192.0.2.99")
NAMES = Names((Name("a.example", NameSource.DNS, own=True, known_ns=0),))


class Told:
    """The kernel's end, and what becomes of what it tells."""

    def __init__(self) -> None:
        self.programs = FakePrograms()
        self.looked_up = 0
        self.records: list[Record] = []
        ground = SimpleNamespace(
            kept=SimpleNamespace(programs=self.programs),
            clock=SimpleNamespace(now=lambda: NOW),
            owners=SimpleNamespace(owner_of=lambda entry: process(pid=entry.tid)),
            interfaces=SimpleNamespace(name_of=lambda number: f"eth{number}"),
        )
        self.flows = CachedFlows(cast("Ground", ground))
        loop = SimpleNamespace(add_reader=lambda *_: None)
        recorder = Recorder(self._record_of, self._names_of, self._write, lambda: None)
        self.flows.begin(cast("object", loop), recorder)  # type: ignore[arg-type]

    def tell(self, sport: int, daddr: str = "192.0.2.1", tid: int = 300) -> None:
        """Tell of a flow that was accepted a second ago and *sport* ns."""
        it = flow(daddr)
        saddr, to = (each.ljust(16, b"\0") for each in (it.saddr, it.daddr))
        decided, rest = (0, 0, 1, 2), (saddr, it.dport, it.family, it.proto)
        who = (image_key(300), tid, 1_000, 1_000, 1, b"curl".ljust(16, b"\0"))
        seen_ns = 49 * NS_PER_S + sport
        told = layout.CACHED.pack(seen_ns, sport, 0, to, *decided, *rest, *who)
        self.programs.cached_rings[0].tell(told)

    def _record_of(self, event: FlowCached) -> Record:
        self.looked_up += 1
        names = self._names_of(event.found.owner, event.flow.daddr)
        return Record(
            *(event.now.wall_ns, event.decision, 0, 0, event.flow, event.found.owner),
            *(event.found.attribution, 1, event.iface),
            names=names,
            monotonic_ns=event.now.monotonic_ns,
        )

    def _names_of(self, _owner: Owner, daddr: bytes) -> Names:
        return NAMES if daddr == NAMED else Names()

    def _write(self, likes: Collection[Record], records: Sequence[Alike]) -> None:
        assert {id(each.like) for each in records} == set(map(id, likes))
        self.records += map(whole, records)


@pytest.fixture(name="told")
def fixture_told() -> Told:
    return Told()


def said(record: Record) -> tuple[object, ...]:
    assert isinstance(record.flow, Flow)
    assert isinstance(record.owner, Process)
    return record.owner.pid, record.flow.sport, record.flow.daddr, record.names.names


def test_of_what_is_alike_each_has_its_record_and_only_the_first_is_looked_up(told: Told) -> None:
    for sport in range(50_000, 50_010):
        told.tell(sport, tid=300 + sport % 2)
    assert not told.flows.hear_some()

    assert told.looked_up == 2
    assert [said(each)[:2] for each in told.records] == [
        (300 + sport % 2, sport) for sport in range(50_000, 50_010)
    ]
    moments = [(each.wall_ns, each.monotonic_ns) for each in told.records]
    assert moments == [
        (WALL_NS - NS_PER_S + sport, 49 * NS_PER_S + sport) for sport in range(50_000, 50_010)
    ]
    assert {each.iface for each in told.records} == {"eth2"}


def test_another_destination_is_looked_up_where_it_has_a_name(told: Told) -> None:
    there = ["192.0.2.1", "192.0.2.2", "192.0.2.99", "192.0.2.99", "192.0.2.3"]
    for sport, daddr in enumerate(there):
        told.tell(sport, daddr)
    assert not told.flows.hear_some()

    assert told.looked_up == 2
    assert [said(each)[1:] for each in told.records] == [
        (sport, packed_address(daddr), NAMES.names if daddr == "192.0.2.99" else ())
        for sport, daddr in enumerate(there)
    ]


def test_what_has_a_name_tells_nothing_of_where_there_is_none(told: Told) -> None:
    there = ["192.0.2.99", "192.0.2.1", "192.0.2.99"]
    for sport, daddr in enumerate(there):
        told.tell(sport, daddr)
    told.flows.hear_all()

    assert [bool(each.names.names) for each in told.records] == [True, False, True]


def test_a_crowd_of_programs_is_heard_of_in_pieces_and_none_twice(told: Told) -> None:
    for number in range(100):
        told.tell(number, tid=number + 1)

    assert told.flows.hear_some()
    assert 0 < len(told.records) < 100
    told.flows.hear_all()
    assert [said(each)[:2] for each in told.records] == [(n + 1, n) for n in range(100)]


def test_a_burst_of_one_program_is_heard_of_in_pieces_and_none_twice(told: Told) -> None:
    for number in range(1_000):
        told.tell(number)

    assert told.flows.hear_some()
    assert 0 < len(told.records) < 1_000
    told.flows.hear_all()
    assert [said(each)[1] for each in told.records] == list(range(1_000))
