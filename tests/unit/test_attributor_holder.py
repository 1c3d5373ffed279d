"""Who has a flow's socket now: a look at a flow without a packet of it."""

from __future__ import annotations

import pytest

from builders import datagrams, flow, pids
from fakes import FakeMachine, FakeSockDiag
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Attribution, Finding


def machine(entry: SocketEntry | OSError | None = None) -> FakeMachine:
    return FakeMachine(tables=FakeSockDiag([entry]))


def holder(attributor: Attributor, of: Flow) -> Finding:
    found = attributor.holder(of)
    assert isinstance(found, Finding)
    return found


def test_the_socket_tables_and_ebpf_together_tell_whose_it_is() -> None:
    with_one = machine(SocketEntry(11, 5, 0))
    with_one.socket(11)

    found = holder(with_one.attributor(), flow())

    assert pids(found) == (11,)
    assert (found.sock_cookie, found.attribution) == (11, Attribution.SOCK_DIAG)


@pytest.mark.parametrize("of", [flow(), datagrams()])
def test_a_socket_that_is_closed_is_nobodys(of: Flow) -> None:
    with_closed = machine(None)
    with_closed.socket(11, released_ns=99)
    with_closed.claim(of, 11)

    assert with_closed.attributor().holder(of) is None


def test_all_who_share_a_port_are_named() -> None:
    sharing = machine(SocketEntry(12, 5, 0))
    for cookie in (11, 12, 13):
        sharing.socket(cookie, shares_port=True)
    sharing.claim(datagrams(), 13, 12, 11)

    found = holder(sharing.attributor(), datagrams())

    assert pids(found)[0] == 12
    assert set(pids(found)) == {11, 12, 13}
    assert found.shares_port


def test_a_socket_older_than_ebpf_is_for_proc_to_tell() -> None:
    entry = SocketEntry(11, 5, 1_000)

    assert machine(entry).attributor().holder(flow()) == entry


def test_what_is_left_of_a_closed_socket_that_nobody_knows_is_nobodys() -> None:
    assert machine(SocketEntry(11, 0, 1_000)).attributor().holder(flow()) is None


def test_looking_changes_nothing_in_who_is_told_for_the_next_packet() -> None:
    def two() -> FakeMachine:
        both = machine(SocketEntry(11, 5, 0))
        for cookie in (11, 12):
            both.socket(cookie, created_ns=cookie, shares_port=True)
        both.claim(datagrams(), 12, 11)
        return both

    undisturbed, looked_at = two().attributor(), two().attributor()
    told = [undisturbed.find(datagrams()) for _ in range(3)]

    looked: list[Finding] = []
    for _ in range(3):
        holder(looked_at, datagrams())
        looked.append(looked_at.find(datagrams()))
        holder(looked_at, datagrams())

    assert looked == told


def test_tables_that_cannot_be_asked_are_an_error_and_not_nobody() -> None:
    with pytest.raises(OSError, match="for the test"):
        machine(OSError("for the test")).attributor().holder(flow())
