"""Lines of records, put together from what many of them share."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builders import NS_PER_S, WALL_NS, flow, ping, process
from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import Bypass, Flow
from nfsnitch.core.identity import Identity
from nfsnitch.core.listing import Entry
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.opening import Opening
from nfsnitch.core.owner import Attribution, Forwarded, Kernel, Owner
from nfsnitch.core.record import Record
from nfsnitch.core.record_line import RecordLines
from nfsnitch.core.unknown import Unknown

GONE = Unknown('it is "gone"\n')
ODD = process('/opt/ü "odd"\\')
OWNERS: tuple[Owner, ...] = (
    process(),
    ODD,
    replace(process(), identity=Identity(sha256="a" * 64, changed=True, previous_sha256="b" * 64)),
    Kernel("no socket"),
    Forwarded("it came by eth1"),
    GONE,
)
NAME = Name(
    "a.example", NameSource.DNS, own=True, known_ns=NS_PER_S, ttl_s=3, aliases=("b.example",)
)
NAMES = (Names(), Names((NAME,)), Names((NAME, NAME._replace(text="ü", ttl_s=None))))
FLOWS = (
    flow(),
    flow("2001:db8::1"),
    ping(),
    ping()._replace(proto=200, icmp=None),
    Opening(Bypass.PACKET, 3, 0x88CC),
    GONE,
)
DECISIONS = tuple(
    Decision(verdict, Action.ALLOW, reason, rule, entry)
    for verdict, reason in ((Verdict.ACCEPT, Reason.RULE), (Verdict.REJECT, Reason.HELD_LIMIT))
    for rule, entry in ((None, None), ('the "web"', None), ("ü", Entry("list", 7, "bad.example")))
)
RECORDS = st.builds(
    Record,
    wall_ns=st.integers(WALL_NS - 3 * NS_PER_S, WALL_NS + 3 * NS_PER_S),
    decision=st.sampled_from(DECISIONS),
    held_ns=st.integers(0, 10**12),
    packets=st.integers(0, 70),
    flow=st.sampled_from(FLOWS),
    owner=st.sampled_from(OWNERS),
    attribution=st.sampled_from(Attribution),
    netns=st.integers(1, 2**32 - 1),
    iface=st.sampled_from(("eth0", "ü", GONE)),
    rivals=st.lists(st.sampled_from(OWNERS), max_size=2).map(tuple),
    generation=st.integers(1, 9),
    iface_in=st.sampled_from(("eth1", GONE, Record._field_defaults["iface_in"])),
    names=st.sampled_from(NAMES),
    monotonic_ns=st.integers(0, 100 * NS_PER_S),
)


@given(st.lists(RECORDS, min_size=1, max_size=8))
def test_a_line_is_to_the_letter_what_the_record_itself_would_say(records: list[Record]) -> None:
    lines = RecordLines()

    assert [lines.line(each) for each in records] == [each.as_line() for each in records]


@given(
    st.lists(RECORDS, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 3 * NS_PER_S),
            st.integers(0, 65_535),
            st.binary(min_size=4, max_size=4),
        ),
        max_size=8,
    ),
)
def test_of_those_that_are_alike_a_line_is_what_the_whole_record_would_say(
    records: list[Record], others: list[tuple[int, int, int, bytes]]
) -> None:
    lines = RecordLines()
    likes = [each for each in records if isinstance(each.flow, Flow) and not each.flow.icmp]
    alike = [
        Alike(like, like.wall_ns + later_ns, sport, daddr)
        for number, later_ns, sport, daddr in others
        for like in likes[number : number + 1]
        if isinstance(like.flow, Flow) and isinstance(like.flow.sport, int)
    ]

    for each in alike:
        assert lines.line(each) == whole(each).as_line()
        assert lines.line(each.like) == each.like.as_line()


def test_a_whole_record_differs_in_time_and_port_alone() -> None:
    like = Record(
        *(WALL_NS, DECISIONS[0], 0, 1, flow(), process(), Attribution.PACKET_FILTER, 1, "eth0"),
        names=NAMES[1],
        monotonic_ns=5 * NS_PER_S,
    )
    record = whole(Alike(like, WALL_NS + NS_PER_S, 50_001, bytes((192, 0, 2, 9))))

    assert record == like._replace(
        wall_ns=WALL_NS + NS_PER_S, monotonic_ns=6 * NS_PER_S, flow=flow("192.0.2.9", sport=50_001)
    )
    assert whole(like) is like


def test_owners_that_come_and_go_are_never_taken_for_one_another() -> None:
    lines, record = (
        RecordLines(),
        Record(WALL_NS, DECISIONS[0], 0, 1, flow(), GONE, Attribution.FLOW_MAP, 1, "eth0"),
    )
    for pid in range(1, 500):  # each is freed at once, and the next one may be in its place
        said = json.loads(lines.line(record._replace(owner=process(pid=pid))))
        assert said["pid"] == pid
