"""Whose flow it is when a tuple has changed hands, or two open sockets share one."""

from __future__ import annotations

import pytest

from builders import NS_PER_S, datagrams, flow, pids
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.flow import Protocol
from nfsnitch.core.owner import Attribution
from nfsnitch.core.unknown import Unknown

MS = 1_000_000
TCP = flow()
UDP = datagrams()


@pytest.fixture(name="machine")
def fixture_machine() -> FakeMachine:
    return FakeMachine()


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


def test_where_a_port_had_more_users_than_are_remembered_the_first_packets_are_nobodys(
    machine: FakeMachine,
) -> None:
    for cookie in range(5, 11):  # the first of them has been forgotten
        machine.socket(cookie, created_ns=100 * cookie, released_ns=100 * cookie + 50)
    machine.claim(UDP, 10, 9, 8, 7, 6, since_ns=1_000)
    another = datagrams(sport=5_555)
    machine.socket(20, created_ns=120, released_ns=130)
    machine.claim(another, 20, since_ns=120)
    attributor = machine.attributor()

    assert isinstance(attributor.find(UDP).owner, Unknown)
    assert pids(attributor.find(another)) == (20,)  # nothing has been concluded from the first
    machine.queue_empty_ns = 650 + MS
    assert pids(attributor.find(UDP)) == (7, 8, 9, 10)


def test_a_socket_that_is_closed_competes_with_the_one_in_the_tables_now(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 5, since_ns=100)
    machine.tables.looks = [SocketEntry(6, inode=0, uid=1_000)]
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


def test_two_open_sockets_that_share_a_port_stay_rivals_however_long_ago_one_took_over(
    machine: FakeMachine,
) -> None:
    machine.socket(5, created_ns=100, shares_port=True)
    machine.socket(6, created_ns=200, shares_port=True)
    machine.claim(UDP, 6, 5, since_ns=300)
    machine.queue_empty_ns = NS_PER_S
    attributor = machine.attributor()

    found = [attributor.find(UDP) for _ in range(2)]

    assert [pids(each) for each in found] == [(5, 6), (6, 5)]
    assert all(each.shares_port for each in found)


def test_of_those_before_the_open_and_the_lately_closed_are_rivals_and_no_others(
    machine: FakeMachine,
) -> None:
    machine.queue_empty_ns = NS_PER_S
    machine.socket(5, created_ns=100)
    machine.socket(6, created_ns=200, released_ns=NS_PER_S - MS)
    machine.socket(7, created_ns=300, released_ns=NS_PER_S - MS + 1)
    machine.socket(8, created_ns=NS_PER_S)
    machine.claim(UDP, 8, 7, 6, 5, since_ns=NS_PER_S)

    assert pids(machine.attributor().find(UDP)) == (5, 7, 8)


def test_an_earlier_claimant_whose_entry_is_gone_is_no_rival(machine: FakeMachine) -> None:
    machine.socket(6)
    machine.claim(UDP, 6, 5)

    assert pids(machine.attributor().find(UDP)) == (6,)


def test_an_earlier_claimant_whose_process_is_unknown_is_a_rival(machine: FakeMachine) -> None:
    machine.socket(5, created_ns=100, released_ns=200)
    for key in machine.programs.images.keys():  # noqa: SIM118  not a dict
        machine.programs.images.remove(key)
    machine.socket(6, created_ns=300)
    machine.claim(UDP, 6, 5, since_ns=300)
    attributor = machine.attributor()

    first, second = attributor.find(UDP), attributor.find(UDP)

    assert isinstance(first.owner, Unknown)
    assert second.rivals == (first.owner,)


def test_a_socket_that_took_its_tuple_back_is_not_its_own_rival(machine: FakeMachine) -> None:
    machine.socket(5, created_ns=100)
    machine.socket(6, created_ns=200, released_ns=300)
    machine.claim(UDP, 5, 6, 5, since_ns=400)
    machine.queue_empty_ns = NS_PER_S

    assert pids(machine.attributor().find(UDP)) == (5,)


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
