"""Whose flow it is: which source answers, and who it was when a tuple has changed hands."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from builders import NS_PER_S, flow
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import NO_PORTS, Family, Flow, Icmp, Protocol, packed_address
from nfsnitch.core.owner import Attribution, Finding, Kernel, Owner, Process
from nfsnitch.core.unknown import Unknown

MS = 1_000_000
TCP = flow()
UDP = flow(dport=53)._replace(proto=Protocol.UDP)
UDP6 = flow("2001:db8::1", 53)._replace(proto=Protocol.UDP)
ECHO = Flow(
    Family.IPV4,
    Protocol.ICMP,
    packed_address("192.0.2.2"),
    packed_address("192.0.2.1"),
    NO_PORTS,
    NO_PORTS,
    Icmp(8, 0, 4_660),
)


@pytest.fixture(name="machine")
def fixture_machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture(name="own_socket")
def fixture_own_socket() -> Iterator[SocketEntry]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        yield SocketEntry(cookie=5, inode=os.fstat(held.fileno()).st_ino, uid=0)


def pid(owner: Owner) -> int:
    assert isinstance(owner, Process)
    return owner.pid


def pids(found: Finding) -> tuple[int, ...]:
    """Return whom the packet was attributed to, and the rivals."""
    return pid(found.owner), *map(pid, found.rivals)


def entry(cookie: int, inode: int = 0) -> SocketEntry:
    return SocketEntry(cookie, inode, uid=1_000)


@pytest.mark.parametrize("of", [TCP, UDP, UDP6])
def test_an_open_socket_that_claimed_the_tuple_is_the_one_and_nobody_else_is_asked(
    machine: FakeMachine, of: Flow
) -> None:
    machine.socket(5)
    machine.claim(of, 5)

    found = machine.attributor().find(of)

    assert (pids(found), found.attribution, found.sock_cookie) == ((5,), Attribution.FLOW_MAP, 5)
    assert machine.tables.asked == 0


@pytest.mark.parametrize("of", [UDP, UDP6])
def test_a_claim_that_left_the_source_address_to_routing_is_found(
    machine: FakeMachine, of: Flow
) -> None:
    machine.socket(5)
    machine.claim(of, 5, any_saddr=True)

    found = machine.attributor().find(of)

    assert (pids(found), found.attribution) == ((5,), Attribution.FLOW_MAP)


def test_a_claim_with_the_source_address_goes_before_one_without(machine: FakeMachine) -> None:
    for cookie, any_saddr in ((5, False), (6, True)):
        machine.socket(cookie)
        machine.claim(UDP, cookie, any_saddr=any_saddr)

    assert pids(machine.attributor().find(UDP)) == (5,)


def test_a_claim_whose_owner_is_gone_does_not_hide_one_without_a_source_address(
    machine: FakeMachine,
) -> None:
    machine.socket(6)
    machine.claim(UDP, 5)
    machine.claim(UDP, 6, any_saddr=True)

    assert pids(machine.attributor().find(UDP)) == (6,)


def test_without_a_claim_the_kernels_socket_tables_name_the_socket(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.tables.looks = [entry(5)]

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution, found.sock_cookie) == ((5,), Attribution.SOCK_DIAG, 5)


def test_a_socket_that_closed_between_the_two_looks_is_found_by_what_it_left(
    machine: FakeMachine,
) -> None:
    machine.socket(5)

    def closes(_flow: Flow) -> None:
        machine.socket(5, released_ns=100)
        machine.claim(UDP, 5)

    machine.tables.find = closes  # type: ignore[method-assign]

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution) == ((5,), Attribution.FLOW_MAP)


def test_a_closed_socket_without_a_claim_is_found_by_its_port(machine: FakeMachine) -> None:
    machine.socket(5, released_ns=100)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.UDP, 40_000), 5)

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution, found.sock_cookie) == ((5,), Attribution.PORT_MAP, 5)


def test_a_ping_is_found_by_its_identifier(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.ICMP, 4_660), 5)

    found = machine.attributor().find(ECHO)

    assert (pids(found), found.attribution) == ((5,), Attribution.PORT_MAP)


@pytest.mark.parametrize("proto", [Protocol.ICMP, 255])
def test_a_raw_socket_is_found_by_its_protocol_or_as_one_that_sends_any(
    machine: FakeMachine, proto: int
) -> None:
    machine.socket(5)
    machine.port(layout.raw_key(NETNS_COOKIE, proto), 5)

    found = machine.attributor().find(ECHO)

    assert (pids(found), found.attribution) == ((5,), Attribution.PORT_MAP)


def test_a_port_that_several_share_gives_nobody(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.ICMP, 4_660), 5, shared=True)

    found = machine.attributor().find(ECHO)

    assert found.attribution is Attribution.NONE
    assert isinstance(found.owner, Unknown)


def test_when_a_tuple_changed_hands_the_earlier_socket_comes_first_and_each_names_the_other(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 6, 5, since_ns=300)
    attributor = machine.attributor()

    found = [attributor.find(UDP) for _ in range(3)]

    assert [pids(each) for each in found] == [(5, 6), (6, 5), (6, 5)]
    assert [each.sock_cookie for each in found] == [5, 6, 6]
    assert {each.attribution for each in found} == {Attribution.FLOW_MAP}


def test_of_three_that_had_a_tuple_each_has_its_turn(machine: FakeMachine) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300, released_ns=400)
    machine.socket(7, created_ns=500)
    machine.claim(UDP, 7, 6, 5, since_ns=500)
    attributor = machine.attributor()

    assert [pids(attributor.find(UDP)) for _ in range(3)] == [(5, 6, 7), (6, 5, 7), (7, 5, 6)]


def test_a_socket_that_is_closed_competes_with_the_one_in_the_tables_now(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 5, since_ns=100)
    machine.tables.looks = [entry(6)]
    attributor = machine.attributor()

    found = [attributor.find(UDP) for _ in range(2)]

    assert [pids(each) for each in found] == [(5, 6), (6, 5)]
    assert {each.attribution for each in found} == {Attribution.SOCK_DIAG}


def test_a_socket_closed_before_the_queue_was_seen_empty_has_no_packet_left(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 6, 5, since_ns=300)
    machine.queue_empty_ns = 200 + MS

    assert pids(machine.attributor().find(UDP)) == (6,)


def test_a_tuple_taken_over_before_the_queue_was_seen_empty_is_the_later_ones_alone(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100)  # still open: both share the port
    machine.socket(6, created_ns=200)
    machine.claim(UDP, 6, 5, since_ns=300)
    attributor = machine.attributor()
    machine.queue_empty_ns = 299 + MS
    before = pids(attributor.find(UDP))
    machine.queue_empty_ns = 300 + MS

    assert before == (5, 6)
    assert pids(attributor.find(UDP)) == (6,)


def test_data_held_back_may_still_come_a_millisecond_after_the_close(machine: FakeMachine) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 6, 5, since_ns=300)
    machine.queue_empty_ns = 199 + MS

    assert pids(machine.attributor().find(UDP)) == (5, 6)


def test_a_lone_closed_socket_is_no_candidate_once_the_queue_was_seen_empty(
    machine: FakeMachine,
) -> None:
    machine.socket(5, released_ns=200)
    machine.claim(UDP, 5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.UDP, 40_000), 5)
    machine.queue_empty_ns = 200 + MS

    found = machine.attributor().find(UDP)

    assert found.attribution is Attribution.NONE


def test_a_packet_of_a_later_socket_shows_that_the_packets_of_earlier_ones_are_through(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 6, 5, since_ns=300)
    machine.socket(7, created_ns=200 + MS)
    machine.claim(TCP, 7, since_ns=200 + MS)
    attributor = machine.attributor()

    attributor.find(TCP)

    assert pids(attributor.find(UDP)) == (6,)


def test_a_packet_that_may_be_an_earlier_sockets_shows_no_more_than_that_one_would(
    machine: FakeMachine,
) -> None:
    late = NS_PER_S
    machine.socket(5, created_ns=100, released_ns=late)
    machine.socket(6, created_ns=2 * late)
    machine.claim(TCP, 6, 5, since_ns=2 * late)
    machine.socket(7, created_ns=100, released_ns=late)
    machine.socket(8, created_ns=2 * late)
    machine.claim(UDP, 8, 7, since_ns=2 * late)
    attributor = machine.attributor()

    attributor.find(TCP)

    assert pids(attributor.find(UDP)) == (7, 8)


def test_other_packets_of_a_flow_are_not_counted_as_turns_of_another_flow(
    machine: FakeMachine,
) -> None:
    for of, first in ((UDP, 5), (TCP, 7)):
        machine.socket(first, created_ns=100, released_ns=200)
        machine.socket(first + 1, created_ns=300)
        machine.claim(of, first + 1, first, since_ns=300)
    attributor = machine.attributor()

    assert [pids(attributor.find(of)) for of in (UDP, TCP, UDP)] == [(5, 6), (7, 8), (6, 5)]


def test_a_socket_older_than_ebpf_is_found_in_proc(
    machine: FakeMachine, own_socket: SocketEntry
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]

    found = machine.attributor().find(TCP)

    assert (pids(found), found.attribution) == ((os.getpid(),), Attribution.PROC)
    assert found.sock_cookie == own_socket.cookie


def test_a_socket_that_no_process_holds_is_the_kernels(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]
    monkeypatch.setattr(procfs, "holders", lambda _inode: [])

    found = machine.attributor().find(TCP)

    assert found.owner == Kernel("no process holds its socket")
    assert found.attribution is Attribution.PROC


def test_a_socket_that_went_while_proc_was_searched_is_not_the_kernels(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket, None]
    monkeypatch.setattr(procfs, "holders", lambda _inode: [])

    found = machine.attributor().find(TCP)

    assert found.attribution is Attribution.NONE
    assert isinstance(found.owner, Unknown)
    assert "its socket is closed" in found.owner.reason


def test_a_socket_without_a_file_is_closed(machine: FakeMachine) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [entry(5, inode=0)]

    found = machine.attributor().find(TCP)

    assert isinstance(found.owner, Unknown)
    assert "its socket is closed" in found.owner.reason


def test_a_socket_that_several_processes_hold_is_nobodys_in_particular(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]
    monkeypatch.setattr(procfs, "holders", lambda _inode: [12, 11])

    found = machine.attributor().find(TCP)

    assert found.owner == Unknown("several processes could have sent it: 11, 12")
    assert found.attribution is Attribution.NONE


def test_what_no_socket_could_have_sent_is_the_kernels_own(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [])

    found = machine.attributor().find(ECHO)

    assert found.owner == Kernel("no socket could have sent it")
    assert found.attribution is Attribution.PROC


def test_proc_is_not_searched_more_often_than_allowed(
    machine: FakeMachine, own_socket: SocketEntry
) -> None:
    machine.proc_lookups = 2
    machine.tables.looks = [own_socket]
    attributor = machine.attributor()

    found = [attributor.find(TCP).attribution for _ in range(4)]

    assert found == [Attribution.PROC] * 2 + [Attribution.NONE] * 2
    assert machine.counters == {Counter.PROC_LIMITED: 2}


def test_tables_that_cannot_be_asked_are_counted_and_the_rest_is_tried(
    machine: FakeMachine,
) -> None:
    machine.tables.looks = [TimeoutError("for the test")]
    machine.socket(5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.UDP, 40_000), 5)

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution) == ((5,), Attribution.PORT_MAP)
    assert machine.counters == {Counter.SOCK_DIAG_ERRORS: 1}
