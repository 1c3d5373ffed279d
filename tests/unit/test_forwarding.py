"""Whose flow it is that comes from another network namespace."""

from __future__ import annotations

import collections
from typing import cast

import pytest

from builders import datagrams
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.forwarding import LATE_NS, ForwardedAttributor
from nfsnitch.adapters.links import Links
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow, packed_address
from nfsnitch.core.owner import Attribution, Forwarded, Kernel, Process
from nfsnitch.core.passage import Passage
from nfsnitch.core.unknown import Unknown

BRIDGE, FIRST, SECOND, UPLINK, TUNNEL = 5, 11, 12, 2, 9
UDP = datagrams()
NOW_NS = 100 * LATE_NS


class FakeLinks:
    """A bridge with two containers, an uplink to a namespace outside, and a tunnel."""

    def doors(self, ifindex: int) -> tuple[int, ...]:
        ports = {BRIDGE: (FIRST, SECOND), FIRST: (FIRST,), SECOND: (SECOND,), UPLINK: (UPLINK,)}
        return ports.get(ifindex, ())

    def is_uplink(self, ifindex: int) -> bool:
        return ifindex == UPLINK


class Machine(FakeMachine):
    """One whose queue was seen empty just now."""

    tells_translation = True

    def crossing(self, door: int, cookie: int, *previous: int, of: Flow = UDP, **more: int) -> None:
        """Write whose a tuple is that came by *door*."""
        last_ns = more.get("last_ns", NOW_NS)
        places = [*previous, *[0] * (4 - len(previous))]
        claim = layout.FLOW_VALUE.pack(
            cookie, last_ns, last_ns, more.get("previous_ns", 0), *places
        )
        key = layout.crossing_key(NETNS_COOKIE, of, door)
        self.programs.crossings.put(key, layout.CROSSING_VALUE.pack(claim, more.get("inode", 0)))

    def forwarded(self) -> ForwardedAttributor:
        limit = TimeLimit(0, self.proc_lookups * 60, 60)
        programs = cast("LoadedPrograms", self.programs)
        store = OwnerStore(programs, lambda _cookie: None, limit, lambda: NOW_NS)
        self.noted: collections.Counter[Counter] = collections.Counter()
        links = cast("Links", FakeLinks())
        told = self.tells_translation
        return ForwardedAttributor(
            store, links, NETNS_COOKIE, lambda: NOW_NS, limit, self.noted, lambda: told
        )


@pytest.fixture(name="machine")
def fixture_machine() -> Machine:
    machine = Machine()
    for cookie in (21, 22):
        machine.socket(cookie)
    return machine


def test_it_is_who_sent_it_by_an_interface_that_it_may_have_come_by(machine: Machine) -> None:
    machine.crossing(FIRST, 21)

    found = machine.forwarded().find(UDP, Passage(BRIDGE))

    assert isinstance(found.owner, Process)
    assert (found.owner.pid, found.sock_cookie) == (21, 21)
    assert (found.attribution, found.rivals) == (Attribution.EGRESS_PROBE, ())


@pytest.mark.parametrize("passage", [Passage(BRIDGE, SECOND), Passage(SECOND)])
def test_who_sends_the_same_by_another_interface_has_nothing_to_do_with_it(
    machine: Machine, passage: Passage
) -> None:
    machine.crossing(FIRST, 21)

    assert isinstance(machine.forwarded().find(UDP, passage).owner, Unknown)


def test_two_that_send_alike_by_ports_of_one_bridge_are_both_named(machine: Machine) -> None:
    machine.crossing(FIRST, 21, last_ns=NOW_NS - 5)
    machine.crossing(SECOND, 22)

    found = machine.forwarded().find(UDP, Passage(BRIDGE))
    named = [found.owner, *found.rivals]

    assert [owner.pid for owner in named if isinstance(owner, Process)] == [22, 21]
    assert found.shares_port


def test_what_was_sent_long_before_the_queue_was_empty_is_no_longer_to_come(
    machine: Machine,
) -> None:
    machine.crossing(FIRST, 21, last_ns=NOW_NS - LATE_NS)

    assert isinstance(machine.forwarded().find(UDP, Passage(BRIDGE)).owner, Unknown)


def test_who_had_the_tuple_a_moment_before_is_a_rival(machine: Machine) -> None:
    machine.crossing(FIRST, 21, 22, previous_ns=NOW_NS - LATE_NS + 1)

    found = machine.forwarded().find(UDP, Passage(FIRST))

    assert [owner.pid for owner in found.rivals if isinstance(owner, Process)] == [22]


def test_where_more_had_it_a_moment_before_than_are_remembered_nobody_knows_them_all(
    machine: Machine,
) -> None:
    for cookie in (31, 32, 33, 34):
        machine.socket(cookie, released_ns=NOW_NS + 1)
    machine.crossing(FIRST, 21, 34, 33, 32, 31, previous_ns=NOW_NS - LATE_NS + 1)

    *known, last = machine.forwarded().find(UDP, Passage(FIRST)).rivals

    assert [owner.pid for owner in known if isinstance(owner, Process)] == [34, 33, 32, 31]
    assert isinstance(last, Unknown)


def test_who_had_it_long_before_is_none(machine: Machine) -> None:
    machine.crossing(FIRST, 21, 22, previous_ns=NOW_NS - LATE_NS)

    assert machine.forwarded().find(UDP, Passage(FIRST)).rivals == ()


def test_the_destination_before_translation_is_the_one_that_was_sent_to(machine: Machine) -> None:
    sent = UDP._replace(daddr=packed_address("10.96.0.10"), dport=5_353)
    machine.crossing(FIRST, 21, of=sent)

    assert isinstance(machine.forwarded().find(UDP, Passage(FIRST, 0, sent)).owner, Process)
    assert isinstance(machine.forwarded().find(UDP, Passage(FIRST)).owner, Unknown)


def test_where_no_translation_is_told_the_sources_address_and_port_lead_to_it(
    machine: Machine,
) -> None:
    machine.tells_translation, machine.proc_lookups = False, 1
    machine.crossing(FIRST, 21, of=UDP._replace(daddr=packed_address("10.96.0.10"), dport=5_353))
    machine.crossing(SECOND, 22, of=UDP._replace(dport=5_353))

    found = machine.forwarded().find(UDP, Passage(FIRST))

    assert isinstance(found.owner, Process)
    assert (found.owner.pid, found.rivals) == (21, ())


def test_the_kernel_of_another_namespace_is_the_kernel(machine: Machine) -> None:
    machine.crossing(FIRST, layout.COOKIE_KERNEL)

    assert isinstance(machine.forwarded().find(UDP, Passage(FIRST)).owner, Kernel)


@pytest.mark.parametrize(
    ("ifindex", "kind"), [(TUNNEL, Forwarded), (UPLINK, Forwarded), (BRIDGE, Unknown)]
)
def test_what_nobody_sent_is_forwarded_only_if_it_came_from_outside(
    machine: Machine, ifindex: int, kind: type
) -> None:
    found = machine.forwarded().find(UDP, Passage(ifindex))

    assert isinstance(found.owner, kind)
    assert found.attribution is Attribution.NONE


def test_looking_into_proc_for_an_older_socket_is_limited_and_counted(machine: Machine) -> None:
    machine.crossing(FIRST, 77, inode=1)

    found = machine.forwarded().find(UDP, Passage(FIRST))

    assert isinstance(found.owner, Unknown)
    assert machine.noted[Counter.PROC_LIMITED] == 1


def test_a_flow_under_way_belongs_to_who_has_its_socket_open(machine: Machine) -> None:
    machine.crossing(FIRST, 21, last_ns=1)
    held = machine.forwarded().holder(UDP, Passage(BRIDGE))
    assert not isinstance(held, SocketEntry)
    assert held is not None
    assert held.sock_cookie == 21

    machine.socket(21, released_ns=5)
    assert machine.forwarded().holder(UDP, Passage(BRIDGE)) is None


def test_of_a_flow_under_way_an_older_socket_is_told_by_its_inode(machine: Machine) -> None:
    machine.crossing(FIRST, 77, inode=4_711, last_ns=1)

    held = machine.forwarded().holder(UDP, Passage(BRIDGE))

    assert isinstance(held, SocketEntry)
    assert (held.cookie, held.inode) == (77, 4_711)
