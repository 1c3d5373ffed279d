"""Whose flow it is where a probe on the queue writes down each packet's sender."""

from __future__ import annotations

import pytest

from builders import datagrams, flow, pids, ping
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.flow import LATER_FRAGMENT, NO_PORTS, Flow, Protocol
from nfsnitch.core.owner import Attribution, Kernel
from nfsnitch.core.unknown import Unknown

MS = 1_000_000
TCP = flow()
UDP = datagrams()
GRE = flow()._replace(proto=Protocol.GRE, sport=NO_PORTS, dport=NO_PORTS)
FRAGMENT = UDP._replace(sport=LATER_FRAGMENT, dport=LATER_FRAGMENT)
KERNEL, UNNUMBERED = layout.COOKIE_KERNEL, layout.COOKIE_UNNUMBERED


@pytest.fixture(name="machine", params=[AttachMode.LSM, AttachMode.KPROBE])
def fixture_machine(request: pytest.FixtureRequest) -> FakeMachine:
    machine = FakeMachine()
    machine.programs.mode = request.param
    return machine


def queued(
    machine: FakeMachine,
    of: Flow,
    *cookies: int,
    since_ns: int = 0,
    previous_ns: int | None = None,
) -> None:
    """Have packets of these sockets queued, the latest first.

    The last one of those before came at *previous_ns*, None: just before the latest took over.
    """
    places = [*cookies, *[0] * (5 - len(cookies))]
    key = layout.packet_key(NETNS_COOKIE, of)
    times_ns = (since_ns, since_ns, since_ns if previous_ns is None else previous_ns)
    raw = layout.FLOW_VALUE.pack(places[0], *times_ns, *places[1:])
    machine.programs.flows.put(key, raw)


@pytest.mark.parametrize("of", [TCP, UDP, ping(), GRE, FRAGMENT, datagrams("2001:db8::1")])
def test_the_packet_says_whose_it_is_whatever_its_protocol_and_nobody_else_is_asked(
    machine: FakeMachine, of: Flow
) -> None:
    machine.socket(5)
    queued(machine, of, 5)

    found = machine.attributor().find(of)

    assert (pids(found), found.attribution) == ((5,), Attribution.QUEUE_PROBE)
    assert found.sock_cookie == 5
    assert machine.tables.asked == 0


def test_a_socket_closed_long_ago_still_sent_what_the_probe_saw_it_send(
    machine: FakeMachine,
) -> None:
    machine.socket(5, released_ns=100)
    machine.queue_empty_ns = 10**12
    queued(machine, UDP, 5)

    assert pids(machine.attributor().find(UDP)) == (5,)


def test_two_pings_are_told_apart_by_their_identifier(machine: FakeMachine) -> None:
    echo = ping()
    assert echo.icmp is not None
    other = echo._replace(icmp=echo.icmp._replace(identifier=7))
    for cookie, of in ((5, echo), (6, other)):
        machine.socket(cookie)
        queued(machine, of, cookie)
    attributor = machine.attributor()

    assert [pids(attributor.find(each)) for each in (echo, other)] == [(5,), (6,)]


def test_what_no_socket_of_a_program_sent_is_the_kernels_and_never_trusted(
    machine: FakeMachine,
) -> None:
    queued(machine, TCP, KERNEL)

    found = machine.attributor().find(TCP)

    assert isinstance(found.owner, Kernel)
    assert found.attribution is Attribution.QUEUE_PROBE
    assert isinstance(found.sock_cookie, Unknown)


def test_sockets_that_both_sent_while_the_packet_waited_are_rivals(machine: FakeMachine) -> None:
    machine.queue_empty_ns = 5 * MS
    for cookie in (5, 6):
        machine.socket(cookie, created_ns=cookie, shares_port=True)
    queued(machine, UDP, 6, 5, since_ns=6 * MS)

    assert sorted(pids(machine.attributor().find(UDP))) == [5, 6]


def test_a_socket_that_takes_over_from_one_whose_packets_are_all_known_has_no_rival(
    machine: FakeMachine,
) -> None:
    machine.queue_empty_ns = 5 * MS
    for cookie in (5, 6):
        machine.socket(cookie, created_ns=cookie, shares_port=True)
    queued(machine, UDP, 6, 5, 6, 5, since_ns=6 * MS, previous_ns=4 * MS)

    assert pids(machine.attributor().find(UDP)) == (6,)


def test_sockets_that_take_turns_are_named_once_each(machine: FakeMachine) -> None:
    for cookie in (5, 6):
        machine.socket(cookie, created_ns=cookie, shares_port=True)
    queued(machine, UDP, 6, 5, 6, 5, since_ns=6 * MS)

    assert sorted(pids(machine.attributor().find(UDP))) == [5, 6]


def test_an_open_socket_with_the_same_port_is_no_rival_once_its_packets_are_all_known(
    machine: FakeMachine,
) -> None:
    machine.queue_empty_ns = 8 * MS
    for cookie in (5, 6):
        machine.socket(cookie, created_ns=cookie, shares_port=True)
    queued(machine, UDP, 6, 5, since_ns=6 * MS)

    assert pids(machine.attributor().find(UDP)) == (6,)


def test_a_packet_just_before_the_queue_was_seen_empty_may_have_come_after_that(
    machine: FakeMachine,
) -> None:
    machine.queue_empty_ns = 6 * MS + 1
    for cookie in (5, 6):
        machine.socket(cookie, created_ns=cookie)
    queued(machine, UDP, 6, 5, since_ns=6 * MS)

    assert sorted(pids(machine.attributor().find(UDP))) == [5, 6]


def test_the_kernel_may_be_a_rival_too(machine: FakeMachine) -> None:
    machine.socket(6)
    queued(machine, UDP, 6, KERNEL, since_ns=MS)

    found = machine.attributor().find(UDP)

    assert {type(owner) for owner in (found.owner, *found.rivals)} >= {Kernel}
    assert len(found.rivals) == 1


def test_a_socket_without_a_cookie_is_found_in_the_kernels_tables(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.tables.looks = [SocketEntry(5, 77, uid=1_000)]
    queued(machine, UDP, UNNUMBERED)

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution) == ((5,), Attribution.SOCK_DIAG)


@pytest.mark.parametrize("entry", [None, SocketEntry(6, 77, uid=1_000)])
def test_a_sender_that_nobody_knows_is_not_taken_for_whoever_has_its_tuple_now(
    machine: FakeMachine, entry: SocketEntry | None
) -> None:
    machine.socket(6)
    machine.tables.looks = [entry]
    queued(machine, UDP, 5)

    found = machine.attributor().find(UDP)

    assert isinstance(found.owner, Unknown)
    assert found.attribution is Attribution.NONE


def test_a_packet_the_probe_did_not_see_is_looked_up_in_the_kernels_tables(
    machine: FakeMachine,
) -> None:
    machine.socket(5)
    machine.tables.looks = [SocketEntry(5, 77, uid=1_000)]

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution) == ((5,), Attribution.SOCK_DIAG)


def test_in_cgroup_mode_the_same_entry_is_no_proof(machine: FakeMachine) -> None:
    machine.programs.mode = AttachMode.CGROUP
    queued(machine, GRE, KERNEL)

    assert machine.attributor().find(GRE).attribution is not Attribution.QUEUE_PROBE
