"""Processes and sockets as /proc tells them; the names in there are whatever a process likes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nfsnitch.adapters import procfs
from nfsnitch.core.flow import Family, Protocol
from nfsnitch.core.owner import Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

NOBODY = 2**22 + 1  # one more than PID_MAX_LIMIT
RENAMES_ITSELF = """
import os, sys
with open("/proc/self/comm", "wb") as file:
    file.write(os.fsencode(sys.argv[1]))
print("renamed", flush=True)
sys.stdin.read()
"""

LEAVES_A_THREAD_BEHIND = """
import ctypes, os, platform, socket, sys, threading
held = socket.socket()
def stay():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        os.sched_yield()
    print(os.fstat(held.fileno()).st_ino, flush=True)
    sys.stdin.read()
threading.Thread(target=stay).start()
SYS_exit = {"x86_64": 60, "aarch64": 93}[platform.machine()]
ctypes.CDLL(None).syscall(SYS_exit, 0)  # this thread alone
"""

HAS_FILES_OF_ITS_OWN = """
import ctypes, os, socket, sys, threading
CLONE_FILES = 0x400
def stay():
    if ctypes.CDLL(None).unshare(CLONE_FILES):
        return
    held = socket.socket()
    print(os.fstat(held.fileno()).st_ino, flush=True)
    sys.stdin.read()
threading.Thread(target=stay).start()
"""


@contextmanager
def running(program: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that ends with its standard input."""
    with subprocess.Popen([program, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        yield popen
        popen.kill()


@contextmanager
def named(comm: bytes) -> Iterator[int]:
    """Yield the pid of a process that calls itself so."""
    script = ("-I", "-S", "-c", RENAMES_ITSELF, os.fsdecode(comm))
    with running(Path(sys.executable), *script) as popen:
        assert popen.stdout is not None
        assert popen.stdout.readline() == b"renamed\n"
        yield popen.pid


@contextmanager
def running_cat(program: Path, *args: str) -> Iterator[int]:
    """Yield the pid of a copy of cat; its exec is over, for it has answered."""
    with running(program, *args) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.write(b"there?\n")
        popen.stdin.flush()
        assert popen.stdout.readline() == b"there?\n"
        yield popen.pid


@pytest.fixture(name="cat")
def fixture_cat(tmp_path: Path) -> Path:
    found = shutil.which("cat")
    assert found is not None
    return Path(shutil.copy(found, tmp_path / "own cat"))


@pytest.fixture(name="fake_proc")
def fixture_fake_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    (tmp_path / "thread-self" / "net").mkdir(parents=True)
    (tmp_path / "7").mkdir()
    return tmp_path


def found_process(pid: int) -> Process:
    found = procfs.process(pid)
    assert isinstance(found, Process)
    return found


def test_this_process_is_told_as_it_knows_itself() -> None:
    found = found_process(os.getpid())

    assert (found.pid, found.tid) == (os.getpid(), os.getpid())
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    assert found.exe.path == str(Path(sys.executable).resolve())
    assert found.exe.inode == Path(sys.executable).stat().st_ino
    assert found.exe.device == Path(sys.executable).stat().st_dev
    assert not found.exe.deleted
    assert found.args == tuple(sys.orig_argv)
    assert found.netns == Path("/proc/self/ns/net").stat().st_ino
    assert isinstance(found.cgroup_id, Unknown)


def test_the_ancestors_lead_from_the_parent_up_each_older_than_the_one_before() -> None:
    chain = found_process(os.getpid()).parents

    assert chain[0].pid == os.getppid()
    starts = [ancestor.start_time_ns for ancestor in chain]
    assert starts == sorted(starts, reverse=True)
    assert len(chain) <= procfs.MAX_ANCESTORS


def test_the_uid_is_the_one_for_files_which_the_kernel_stamps_on_sockets(
    fake_proc: Path,
) -> None:
    here = fake_proc / "7"
    (here / "stat").write_bytes(stat_line(b"cat"))
    (here / "status").write_bytes(b"Name:\tcat\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n")
    (here / "comm").write_bytes(b"cat\n")
    (here / "ns").mkdir()
    (here / "ns" / "net").touch()

    found = found_process(7)

    assert (found.uid, found.gid) == (4, 8)


def test_a_process_that_is_gone_is_unknown_and_has_nothing() -> None:
    assert procfs.process(NOBODY) == Unknown(f"process {NOBODY} is gone")
    assert procfs.stat(NOBODY) is None
    assert procfs.ancestors(NOBODY) == ()
    for value in (
        procfs.executable(NOBODY).path,
        procfs.arguments(NOBODY),
        procfs.cgroup(NOBODY),
    ):
        assert isinstance(value, Unknown)


def stat_line(comm: bytes, parent: int = 1, start_ticks: int = 500) -> bytes:
    """Return /proc/PID/stat as proc(5) has it."""
    between = b" ".join(b"%d" % number for number in range(5, 22))
    return b"7 (%b) S %d %b %d 99 98\n" % (comm, parent, between, start_ticks)


@pytest.mark.parametrize(
    "comm", [b"cat", b"a b", b") S 1 1 1", b"((", b"))", b"", b"a\nb", b"\xff\xfe"]
)
def test_a_name_of_any_kind_does_not_shift_the_numbers_behind_it(
    fake_proc: Path, comm: bytes
) -> None:
    (fake_proc / "7" / "stat").write_bytes(stat_line(comm, parent=42, start_ticks=500))

    found = procfs.stat(7)

    assert found is not None
    assert found.parent_pid == 42
    assert found.start_time_ns == 500 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "comm", [b") S 1 1 1 1", b"\rUid:0 0 0 0", b"\nUid:0 0 0 0", b"a b)", b"\xff\xfe"]
)
def test_a_process_cannot_lie_about_itself_by_its_name(comm: bytes) -> None:
    with named(comm) as pid:
        found = found_process(pid)

    assert found.comm == decoded(comm)
    assert found.uid == os.geteuid()
    assert found.parents[0].pid == os.getpid()


def test_a_name_that_ends_in_line_ends_keeps_them() -> None:
    with named(b"cat\n\n") as pid:
        assert found_process(pid).comm == "cat\n\n"


def test_an_executable_that_was_removed_is_known_by_its_inode_and_no_longer_by_its_name(
    cat: Path,
) -> None:
    inode = cat.stat().st_ino
    with running_cat(cat) as pid:
        cat.unlink()
        found = procfs.executable(pid)

    assert (found.inode, found.deleted) == (inode, True)
    assert isinstance(found.path, Unknown)
    assert str(cat) in found.path.reason


def test_an_executable_that_only_calls_itself_deleted_is_not(cat: Path) -> None:
    liar = cat.rename(cat.with_name("cat (deleted)"))
    with running_cat(liar) as pid:
        found = procfs.executable(pid)

    assert (found.path, found.deleted) == (str(liar), False)


@pytest.mark.root
def test_a_path_that_is_another_file_in_our_mount_namespace_is_not_given_out(
    cat: Path, tmp_path: Path
) -> None:
    # Whom eBPF has not seen, and who has more arguments than it keeps, is told by this path.
    other = tmp_path / "other"
    other.touch()
    script = 'mount --bind "$1" "$2" && exec "$2"'
    with running_cat(
        Path("/usr/bin/unshare"), *("-m", "sh", "-c", script, "sh", str(cat), str(other))
    ) as pid:
        found = procfs.executable(pid)

    assert found.inode == cat.stat().st_ino
    assert found.path != str(other)


def test_arguments_may_be_empty_and_need_not_be_text(cat: Path) -> None:
    with running_cat(cat, "-", "", os.fsdecode(b"\xff")) as pid:
        assert procfs.arguments(pid) == (str(cat), "-", "", "\udcff")


def test_long_arguments_are_told_whole(cat: Path) -> None:
    with running_cat(cat, "-", "x" * 60_000) as pid:
        assert procfs.arguments(pid) == (str(cat), "-", "x" * 60_000)


def test_of_arguments_that_are_too_long_to_read_none_are_told(cat: Path) -> None:
    # A rule on their first part alone could be evaded by padding.
    with running_cat(cat, "-", "x" * 100_000, "last") as pid:
        assert isinstance(procfs.arguments(pid), Unknown)


def test_a_zombie_is_as_good_as_gone() -> None:
    argv = [sys.executable, "-I", "-S", "-c", "pass"]
    with subprocess.Popen(argv) as popen:
        os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)

        assert procfs.stat(popen.pid) is not None
        assert isinstance(procfs.process(popen.pid), Unknown)


def test_start_times_are_the_same_if_they_fall_into_one_tick() -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    assert procfs.is_same_start(7 * tick + tick - 1, 7 * tick)
    assert not procfs.is_same_start(8 * tick, 7 * tick)
    assert not procfs.is_same_start(7 * tick - 1, 7 * tick)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"0::/user.slice/a.scope\n", "/user.slice/a.scope"),
        (b"1:name=systemd:/old\n0::/\n", "/"),
        (b"0::/a:b::c\n", "/a:b::c"),
        (b"0::/\xff\n", "/\udcff"),
    ],
)
def test_the_cgroup_is_the_one_of_version_2(fake_proc: Path, text: bytes, place: str) -> None:
    (fake_proc / "7" / "cgroup").write_bytes(text)

    assert procfs.cgroup(7) == place


def test_a_process_in_cgroups_of_version_1_alone_is_in_none_of_ours(fake_proc: Path) -> None:
    (fake_proc / "7" / "cgroup").write_bytes(b"1:name=systemd:/old\n")

    assert isinstance(procfs.cgroup(7), Unknown)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"0::/user.slice/own\rname\n", "/user.slice/own\rname"),
        (b"1:name=systemd:/user/x\r0::/system.slice\n0::/user\n", "/user"),
    ],
)
def test_a_cgroup_cannot_be_forged_by_a_carriage_return_in_its_name(
    fake_proc: Path, text: bytes, place: str
) -> None:
    (fake_proc / "7" / "cgroup").write_bytes(text)

    assert procfs.cgroup(7) == place


def test_who_holds_a_socket_is_found_by_its_inode(cat: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inode = os.fstat(ours.fileno()).st_ino
        with subprocess.Popen([cat], stdin=ours.fileno()) as popen:
            both = procfs.holders({inode})
            popen.kill()
    assert sorted(both) == sorted([os.getpid(), popen.pid])
    assert procfs.holders({inode}) == []


def test_a_process_whose_first_thread_has_ended_still_holds_its_sockets() -> None:
    script = ("-I", "-S", "-c", LEAVES_A_THREAD_BEHIND)
    with running(Path(sys.executable), *script) as popen:
        assert popen.stdout is not None
        inode = int(popen.stdout.readline())

        assert procfs.holders({inode}) == [popen.pid]


def test_a_thread_with_files_of_its_own_does_not_hide_its_sockets() -> None:
    script = ("-I", "-S", "-c", HAS_FILES_OF_ITS_OWN)
    with running(Path(sys.executable), *script) as popen:
        assert popen.stdout is not None
        inode = int(popen.stdout.readline())

        assert procfs.holders({inode}) == [popen.pid]


def socket_line(number: int, local: str, inode: int) -> str:
    """Return a line of /proc/net/raw and the like."""
    return (
        f"{number:5}: {local} 00000000:0000 07 00000000:00000000 00:00000000 00000000"
        f"     0        0 {inode} 2 0000000000000000 0\n"
    )


@pytest.fixture(name="tables")
def fixture_tables(fake_proc: Path) -> None:
    """Write sockets: raw ones of protocols 1, 6 and 255, ping ones with identifiers 1 and 6."""
    for suffix, address in (("", "0100007F"), ("6", "0" * 32)):
        for table, sockets in (("raw", {1: 11, 6: 16, 255: 19}), ("icmp", {1: 21, 6: 26})):
            extra = 100 if suffix else 0
            lines = [
                socket_line(number, f"{address}:{number:04X}", inode + extra)
                for number, inode in sockets.items()
            ]
            place = fake_proc / "thread-self" / "net" / f"{table}{suffix}"
            place.write_text("  sl  local_address rem_address   st\n" + "".join(lines))


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("family", "proto", "identifier", "inodes"),
    [
        (Family.IPV4, Protocol.TCP, Unknown("not ICMP"), [16, 19]),
        (Family.IPV6, Protocol.TCP, Unknown("not ICMP"), [116, 119]),
        (Family.IPV4, Protocol.SCTP, Unknown("not ICMP"), [19]),
        (Family.IPV4, Protocol.ICMP, 6, [26, 11, 19]),
        (Family.IPV4, Protocol.ICMP, 7, [11, 19]),
        (Family.IPV4, Protocol.ICMP, Unknown("no echo"), [11, 19]),
        (Family.IPV6, Protocol.ICMPV6, 6, [126, 119]),
        (Family.IPV6, Protocol.ICMP, 6, [111, 119]),
    ],
)
def test_sockets_that_could_send_it_are_the_ping_ones_with_its_identifier_and_the_raw_ones(
    family: Family, proto: int, identifier: int | Unknown, inodes: list[int]
) -> None:
    assert procfs.raw_socket_inodes(family, proto, identifier) == inodes


@pytest.mark.usefixtures("fake_proc")
def test_a_table_that_is_not_there_has_no_sockets() -> None:
    assert procfs.raw_socket_inodes(Family.IPV6, Protocol.ICMPV6, 1) == []


def test_a_socket_of_another_thread_is_found_under_the_process() -> None:
    made: list[socket.socket] = []
    thread = threading.Thread(target=lambda: made.append(socket.socket()))
    thread.start()
    thread.join()

    with made[0] as held:
        assert procfs.holders({os.fstat(held.fileno()).st_ino}) == [os.getpid()]


def test_sctp_sockets_are_found_by_their_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "thread-self" / "net" / "sctp" / "eps"
    table.parent.mkdir(parents=True)
    table.write_text(
        " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n"
        "ffff8ff0 ffff8ff1 2   10  29   11165   200 299689357 192.0.2.2\n"
        "ffff8ff2 ffff8ff3 2   10  30   11166     0 299689358 192.0.2.2\n",
        encoding="ascii",
    )
    monkeypatch.setattr(procfs, "PROC", tmp_path)

    assert procfs.sctp_socket_inodes(11166) == [299689358]
    assert procfs.sctp_socket_inodes(1) == []
    table.unlink()
    assert procfs.sctp_socket_inodes(11166) == []
