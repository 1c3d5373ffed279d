"""Whose flow it is: which source answers, in which order they are asked."""

from __future__ import annotations

import pytest

from builders import datagrams, flow, pids, ping
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import LATER_FRAGMENT, Flow, Protocol
from nfsnitch.core.owner import Attribution
from nfsnitch.core.unknown import Unknown

MS = 1_000_000
TCP = flow()
UDP = datagrams()
UDP6 = datagrams("2001:db8::1")
ECHO = ping()


@pytest.fixture(name="machine")
def fixture_machine() -> FakeMachine:
    return FakeMachine()


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


@pytest.mark.parametrize("mode", [*AttachMode])
def test_a_later_fragment_of_tcp_has_no_tuple_by_which_anybody_could_have_claimed_it(
    machine: FakeMachine, mode: AttachMode
) -> None:
    machine.programs.mode = mode
    machine.socket(5)
    machine.claim(TCP, 5)

    found = machine.attributor().find(TCP._replace(sport=LATER_FRAGMENT, dport=LATER_FRAGMENT))

    assert isinstance(found.owner, Unknown)


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

    assert pids(machine.attributor().find(UDP))[0] == 5


@pytest.mark.parametrize("earlier", [5, 6])
def test_of_two_open_sockets_with_a_port_one_of_which_left_its_address_to_routing_both_may_be_it(
    machine: FakeMachine, earlier: int
) -> None:
    for cookie, any_saddr in ((5, False), (6, True)):
        since_ns = 100 if cookie == earlier else 200
        machine.socket(cookie, created_ns=since_ns, shares_port=True)
        machine.claim(UDP, cookie, since_ns=since_ns, any_saddr=any_saddr)

    assert sorted(pids(machine.attributor().find(UDP))) == [5, 6]


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
@pytest.mark.parametrize(("how_many", "released_ns"), [(1, 0), (0, 100)])
def test_the_only_raw_socket_is_found_by_its_protocol_or_as_one_that_sends_any(
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    proto: int,
    how_many: int,
    released_ns: int,
) -> None:
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [77] * how_many)
    machine.socket(5, released_ns=released_ns)
    machine.raw_socket(proto, 5, how_many=how_many, closed_ns=released_ns)

    found = machine.attributor().find(ECHO)

    assert (pids(found), found.attribution) == ((5,), Attribution.PORT_MAP)


def test_a_raw_socket_is_not_charged_while_an_older_one_than_the_programs_is_open(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [77, 78])
    machine.socket(5)
    machine.raw_socket(Protocol.ICMP, 5, how_many=1)

    found = machine.attributor().find(ECHO)

    assert found.attribution is not Attribution.PORT_MAP


def test_a_raw_socket_that_is_open_is_not_charged_while_another_was_closed_just_now(
    machine: FakeMachine,
) -> None:
    machine.socket(5)
    machine.raw_socket(Protocol.ICMP, 5, how_many=1, closed_ns=100)

    found = machine.attributor().find(ECHO)

    assert found.attribution is Attribution.NONE


def test_raw_sockets_of_a_protocol_and_those_that_send_any_are_counted_together(
    machine: FakeMachine,
) -> None:
    machine.socket(5)
    machine.socket(6)
    machine.raw_socket(Protocol.ICMP, 5, how_many=1)
    machine.raw_socket(255, 6, how_many=1)

    found = machine.attributor().find(ECHO)

    assert found.attribution is Attribution.NONE


def test_a_port_that_several_share_gives_nobody(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.ICMP, 4_660), 5, shared=True)

    found = machine.attributor().find(ECHO)

    assert found.attribution is Attribution.NONE
    assert isinstance(found.owner, Unknown)


@pytest.mark.parametrize("proto", [Protocol.ICMP, 255])
def test_of_several_raw_sockets_nobody_can_tell_which_it_was(
    machine: FakeMachine, proto: int
) -> None:
    machine.socket(5)
    machine.raw_socket(proto, 5, how_many=2)

    found = machine.attributor().find(ECHO)

    assert found.attribution is Attribution.NONE
    assert isinstance(found.owner, Unknown)


def test_a_closed_raw_socket_is_not_taken_for_the_one_that_is_still_open(
    machine: FakeMachine,
) -> None:
    machine.socket(5)  # the earlier one
    machine.socket(6, created_ns=100, released_ns=200)
    machine.raw_socket(Protocol.ICMP, 6, how_many=1)

    assert machine.attributor().find(ECHO).attribution is Attribution.NONE


def test_a_raw_socket_of_another_protocol_could_not_have_sent_it(machine: FakeMachine) -> None:
    machine.socket(5)
    machine.raw_socket(Protocol.SCTP, 5, how_many=1)

    assert machine.attributor().find(ECHO).attribution is Attribution.NONE


def test_a_tuple_that_some_socket_had_that_is_gone_is_nobodys_and_no_raw_sockets(
    machine: FakeMachine,
) -> None:
    machine.claim(UDP, 5)
    machine.socket(6)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.UDP, 40_000), 6)
    machine.raw_socket(255, 6, how_many=1)
    machine.proc_lookups = 1

    found = machine.attributor().find(UDP)

    assert isinstance(found.owner, Unknown)
    assert "whose it was is not known any more" in found.owner.reason
    assert found.attribution is Attribution.NONE
    assert isinstance(found.sock_cookie, Unknown)
    assert machine.counters == {}  # /proc was not asked


def test_a_socket_whose_process_is_missing_is_found_but_its_owner_is_unknown(
    machine: FakeMachine,
) -> None:
    machine.socket(5)
    for key in machine.programs.images.keys():  # noqa: SIM118  not a dict
        machine.programs.images.remove(key)
    machine.claim(UDP, 5)
    machine.proc_lookups = 1

    found = machine.attributor().find(UDP)

    assert isinstance(found.owner, Unknown)
    assert "the map of processes was full" in found.owner.reason
    assert (found.attribution, found.sock_cookie) == (Attribution.FLOW_MAP, 5)


@pytest.mark.parametrize("shares_port", [False, True])
def test_a_finding_says_whether_the_socket_shares_its_port(
    machine: FakeMachine,
    shares_port: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    machine.socket(5, shares_port=shares_port)
    attributor = machine.attributor()
    machine.tables.looks = [entry(5)]
    by_tables = attributor.find(UDP)
    machine.claim(UDP, 5)
    by_claim = attributor.find(UDP)

    assert [by_tables.shares_port, by_claim.shares_port] == [shares_port] * 2
    assert by_tables.attribution is Attribution.SOCK_DIAG


@pytest.mark.parametrize(("released_ns", "is_closed"), [(0, False), (10**12, True)])
def test_a_finding_says_whether_the_socket_is_closed(
    machine: FakeMachine,
    released_ns: int,
    is_closed: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    machine.socket(5, released_ns=released_ns)
    machine.claim(UDP, 5)

    assert machine.attributor().find(UDP).is_closed == is_closed


def test_tables_that_cannot_be_asked_are_counted_and_the_rest_is_tried(
    machine: FakeMachine,
) -> None:
    machine.tables.looks = [TimeoutError("for the test")]
    machine.socket(5)
    machine.port(layout.port_key(NETNS_COOKIE, Protocol.UDP, 40_000), 5)

    found = machine.attributor().find(UDP)

    assert (pids(found), found.attribution) == ((5,), Attribution.PORT_MAP)
    assert machine.counters == {Counter.SOCK_DIAG_ERRORS: 1}
