"""Whose flow it is where /proc must tell: sockets that eBPF has not seen, and the kernel's own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from builders import datagrams, flow, pids, ping
from fakes import FakeMachine
from nfsnitch.adapters import procfs
from nfsnitch.adapters.sock_diag import SocketEntry
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import NO_PORTS, Flow, Protocol
from nfsnitch.core.owner import Attribution, Kernel, Process
from nfsnitch.core.unknown import Unknown

TCP = flow()
UDP = datagrams()
ECHO, ECHO_REPLY, UNREACHABLE = ping(8), ping(0), ping(3)


@pytest.fixture(name="machine")
def fixture_machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture(name="own_socket")
def fixture_own_socket() -> Iterator[SocketEntry]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        yield SocketEntry(cookie=5, inode=os.fstat(held.fileno()).st_ino, uid=0)


@pytest.fixture(name="child")
def fixture_child() -> Iterator[int]:
    """Yield the pid of another process."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as popen:  # noqa: S607  found by PATH
        yield popen.pid
        popen.kill()


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
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [])

    found = machine.attributor().find(TCP)

    assert found.owner == Kernel("no process holds its socket")
    assert found.attribution is Attribution.PROC


def test_a_socket_that_went_while_proc_was_searched_is_not_the_kernels(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket, None]
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [])

    found = machine.attributor().find(TCP)

    assert found.attribution is Attribution.NONE
    assert isinstance(found.owner, Unknown)
    assert "its socket was closed" in found.owner.reason


def test_a_socket_without_a_file_is_closed(machine: FakeMachine) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [SocketEntry(5, inode=0, uid=1_000)]

    found = machine.attributor().find(TCP)

    assert isinstance(found.owner, Unknown)
    assert "its socket was closed" in found.owner.reason


def test_several_processes_that_hold_a_socket_are_owner_and_rivals_and_never_trusted(
    machine: FakeMachine, own_socket: SocketEntry, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]
    monkeypatch.setattr(procfs, "holders", lambda _inodes: sorted([child, os.getpid()]))

    found = machine.attributor().find(TCP)

    assert pids(found) == tuple(sorted([child, os.getpid()]))
    assert (found.attribution, found.sock_cookie) == (Attribution.PROC, own_socket.cookie)
    assert found.shares_port


def test_a_socket_that_one_process_holds_is_not_trusted_either(
    machine: FakeMachine, own_socket: SocketEntry
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]

    assert machine.attributor().find(TCP).shares_port


def test_a_holder_that_went_meanwhile_is_a_rival_nobody_knows_if_another_is_left(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 2
    machine.tables.looks = [own_socket]
    gone = 2**22 + 1  # one more than PID_MAX_LIMIT
    attributor = machine.attributor()
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [os.getpid(), gone])
    one_left = attributor.find(TCP)
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [gone])
    none_left = attributor.find(TCP)

    assert isinstance(one_left.owner, Process)
    assert one_left.owner.pid == os.getpid()
    assert one_left.rivals == (Unknown(f"process {gone} is gone"),)
    assert none_left.owner == Unknown(f"process {gone} is gone")
    assert none_left.attribution is Attribution.NONE


@pytest.mark.parametrize(("how_many", "is_known"), [(8, True), (9, False)])
def test_a_socket_that_very_many_processes_hold_is_nobodys_in_particular(
    machine: FakeMachine,
    own_socket: SocketEntry,
    monkeypatch: pytest.MonkeyPatch,
    how_many: int,
    *,
    is_known: bool,
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket]
    own = procfs.process(os.getpid())
    monkeypatch.setattr(procfs, "holders", lambda _inodes: list(range(how_many)))
    monkeypatch.setattr(procfs, "process", lambda _pid: own)

    found = machine.attributor().find(TCP)

    assert (found.attribution is Attribution.PROC) == is_known
    if not is_known:
        assert found.owner == Unknown("9 processes could have sent it")


@pytest.mark.parametrize(
    "sent",
    [
        ECHO_REPLY,
        UNREACHABLE,
        UDP._replace(proto=Protocol.IGMP, sport=NO_PORTS, dport=NO_PORTS),
        UDP._replace(proto=Protocol.GRE, sport=NO_PORTS, dport=NO_PORTS),
    ],
)
def test_what_takes_a_raw_socket_is_the_kernels_own_if_none_is_open(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, sent: Flow
) -> None:
    machine.proc_lookups = 1
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [])

    found = machine.attributor().find(sent)

    assert found.owner == Kernel("no open socket could have sent it")
    assert found.attribution is Attribution.PROC


@pytest.mark.parametrize(
    "sent",
    [
        ECHO,
        ping(42),
        ping(128)._replace(proto=Protocol.ICMPV6),
        ping(160)._replace(proto=Protocol.ICMPV6),
        TCP,
        UDP,
        *(UDP._replace(proto=each) for each in (33, 115, Protocol.SCTP, Protocol.UDPLITE)),
    ],
)
def test_what_a_program_without_privileges_can_send_is_not_the_kernels_though_no_socket_is_open(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, sent: Flow
) -> None:
    machine.proc_lookups = 1
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [])

    found = machine.attributor().find(sent)

    assert found.owner == Unknown("no open socket has this tuple")
    assert found.attribution is Attribution.NONE


def test_a_users_socket_that_no_process_holds_is_not_the_kernels(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.tables.looks = [own_socket._replace(uid=1_000)]
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [])

    found = machine.attributor().find(TCP)

    assert isinstance(found.owner, Unknown)
    assert "it is not the kernel's" in found.owner.reason
    assert found.attribution is Attribution.NONE


def test_proc_is_not_searched_more_often_than_allowed(
    machine: FakeMachine, own_socket: SocketEntry
) -> None:
    machine.proc_lookups = 2
    machine.tables.looks = [own_socket]
    attributor = machine.attributor()

    found = [attributor.find(TCP).attribution for _ in range(4)]

    assert found == [Attribution.PROC] * 2 + [Attribution.NONE] * 2
    assert machine.counters == {Counter.PROC_LIMITED: 2}


def test_what_a_raw_socket_may_have_sent_is_not_the_kernels_though_its_process_is_gone(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [1])
    monkeypatch.setattr(procfs, "holders", lambda _inodes: [])

    found = machine.attributor().find(ECHO_REPLY)

    assert found.owner == Unknown("a socket that may have sent it was closed during the search")
    assert found.attribution is Attribution.NONE


def test_a_socket_that_is_closed_during_the_search_in_proc_is_found_by_what_that_has_written(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    machine.socket(7)

    def close(_inodes: object) -> list[int]:
        machine.raw_socket(Protocol.ICMP, 7, how_many=0, closed_ns=2**40)
        return []

    monkeypatch.setattr(procfs, "raw_socket_inodes", lambda *_: [1])
    monkeypatch.setattr(procfs, "holders", close)

    found = machine.attributor().find(ECHO_REPLY)

    assert (pids(found), found.attribution) == ((7,), Attribution.PORT_MAP)


def test_an_sctp_socket_is_found_by_its_port(
    machine: FakeMachine, own_socket: SocketEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.proc_lookups = 1
    inodes = {UDP.sport: [own_socket.inode]}
    monkeypatch.setattr(procfs, "sctp_socket_inodes", inodes.__getitem__)

    found = machine.attributor().find(UDP._replace(proto=Protocol.SCTP))

    assert (pids(found), found.attribution) == ((os.getpid(),), Attribution.PROC)
