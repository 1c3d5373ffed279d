"""Whose packet it was: counted against what the senders say of themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from attach_mode import by_probe_or
from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab import cgroups
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import VFORK, WAYS, Way, build_program, swarm
from nfsnitch.lab.services import SINK_PORT
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

COUNT = 5_000
COUNT_EACH_WAY = int(os.environ.get("NFSNITCH_SENDERS", "2000"))
"""Of five ways and two protocols: 10,000 TCP connections, 10,000 UDP sockets (docs/testing.md)."""
ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"


def assert_all_attributed(
    world: World,
    firewall: Firewall,
    program: str,
    *args: str,
    daddr: str,
    count: int = COUNT,
    way: Way = VFORK,
) -> None:
    """Let *count* processes send and exit; compare each record with what the sender reported."""
    fits = having(daddr=daddr, dport=SINK_PORT)
    earlier = sum(map(fits, firewall.records))
    own = world.own_copy(build_program(program), program)

    gone = swarm(world, count, own, *args, daddr, str(SINK_PORT), way=way, timeout_s=300)
    firewall.wait_for_records(fits, earlier + count, timeout_s=30)
    found = [record for record in firewall.records if fits(record)][earlier:]

    assert gone.done.returncode == 0, gone.done.stderr
    assert len(set(gone.sent)) == count
    assert sorted(map(as_sent, found)) == sorted((s.pid, s.sport, s.exe) for s in gone.sent)
    assert {record["owner"] for record in found} == {"process"}
    assert {tuple(record["args"][1:]) for record in found} == {
        (*way.member, *args, daddr, str(SINK_PORT))
    }


PORTS = "/proc/sys/net/ipv4/ip_local_port_range"


class Crowded(NamedTuple):
    """A world for short-lived senders, and the firewall in it."""

    world: World
    firewall: Firewall


@pytest.fixture(name="crowded", scope="module")
def fixture_crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    """One firewall for all of them; it must have been able to attribute every packet it has seen.

    The server has a service that swallows in next to no time.
    """
    rules = tmp_path_factory.mktemp("crowded") / "rules.yaml"
    rules.write_text(ALLOW_ALL, encoding="utf-8")
    with World() as world, Firewall(world, [rules]) as firewall:
        # All the ports there are: who had one just before is what other tests ask about.
        assert world.run(["sh", "-c", f"echo 1024 65535 >{PORTS}"]).returncode == 0
        argv = [str(build_program("sink")), str(SINK_PORT)]
        child = world.spawn(argv, netns=SERVER)
        child.wait_for_line(child.stdout, lambda line: line == "ready", 10)
        yield Crowded(world, firewall)
        counters = counted(firewall.stop())

    assert counters[Counter.UNATTRIBUTED] == 0


def as_sent(record: Json) -> tuple[object, object, str]:
    """Return what a record says of what its sender has reported."""
    return record["pid"], record["sport"], f"{record['exe']}{DELETED[record['exe_deleted']]}"


DELETED = {False: "", True: " (deleted)"}


@pytest.mark.slow
@pytest.mark.vm_guest(modes=("lsm", "kprobe"))
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("program", ["one_connect", "one_datagram"], ids=["tcp", "udp"])
def test_every_short_lived_sender_is_attributed(crowded: Crowded, program: str, way: Way) -> None:
    """The right process and executable, whichever way it came to be; in every attach mode.

    The datagrams are those of sendto(). Where a datagram socket is connected by one process and
    passed on to another that only calls send(), the mode `cgroup` has no hook to see the second
    one, and names the first.
    """
    assert_all_attributed(*crowded, program, daddr="192.0.2.1", count=COUNT_EACH_WAY, way=way)


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--connect",)], ids=["sendto", "connected"])
@pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])
def test_every_one_of_5000_datagrams_of_short_lived_processes_is_attributed(
    crowded: Crowded, how: tuple[str, ...], daddr: str
) -> None:
    assert_all_attributed(*crowded, "one_datagram", *how, daddr=daddr)


KEEPS_SENDING = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("192.0.2.1", int(sys.argv[1])))
print("ready", flush=True)
for _ in sys.stdin:
    sock.send(b"x")
"""
JOINS_GROUP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton("233.252.0.1") + socket.inet_aton("192.0.2.2")
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
"""


def test_a_connected_datagram_socket_is_found_by_its_cookie(
    world: World, rules: WriteRules
) -> None:
    script = (
        "import socket\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "    sock.connect(('192.0.2.1', 9))\n"
        "    sock.send(b'x')\n"
        "    sock.settimeout(0.3)\n"
        "    try:\n"
        "        sock.recv(1)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        done = world.run(["python3", "-I", "-S", "-c", script])
        record = firewall.wait_for_record(having(pid=done.pid))

    assert record["attribution"] == by_probe_or("sock-diag")
    assert record["comm"] == "python3"


MULTIPATH = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
    sock.connect(("192.0.2.1", 9))
"""


@pytest.mark.usefixtures("services")
def test_a_path_of_multipath_tcp_is_found_by_the_socket_that_the_program_has(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        done = world.run(["python3", "-I", "-S", "-c", MULTIPATH])
        if "Protocol not" in done.stderr:
            pytest.skip("this kernel has no multipath TCP")
        record = firewall.wait_for_record(having(pid=done.pid))

    assert done.returncode == 0, done.stderr
    assert (record["proto"], record["attribution"]) == ("tcp", by_probe_or("flow-map"))


def test_a_ping_is_found_by_its_raw_socket(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        done = world.run(["ping", "-c", "1", "-W", "2", "192.0.2.1"])
        record = firewall.wait_for_record(having(proto="icmp"))

    assert done.returncode == 0, done.stdout
    assert (record["pid"], record["attribution"]) == (done.pid, by_probe_or("port-map"))
    assert record["args"] == ["ping", "-c", "1", "-W", "2", "192.0.2.1"]


def test_a_socket_that_is_older_than_the_daemon_is_found_all_the_same(
    world: World, rules: WriteRules
) -> None:
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "wb", buffering=0) as tell:
        argv = ["python3", "-I", "-S", "-c", KEEPS_SENDING, str(SINK_PORT)]
        child = world.spawn(argv, fds={0: read_fd})
        os.close(read_fd)
        child.wait_for_line(child.stdout, lambda line: line == "ready", 10)
        with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
            tell.write(b"now\n")
            record = firewall.wait_for_record(having(proto="udp"))

    assert (record["pid"], record["attribution"]) == (child.pid, by_probe_or("proc"))
    assert record["args"] == argv
    assert record["parents"][0]["pid"] == os.getpid()


def test_what_the_kernel_sends_by_itself_is_the_kernels(world: World, rules: WriteRules) -> None:
    text = "default: deny\nrules: [{name: kernel, action: allow, owner: kernel}]\n"
    with Firewall(world, [rules(text)]) as firewall:
        world.run(["python3", "-I", "-S", "-c", JOINS_GROUP])
        record = firewall.wait_for_record(having(proto="igmp"))

    assert (record["owner"], record["rule"], record["verdict"]) == ("kernel", "kernel", "accept")


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_record_names_the_cgroup_user_and_parents_of_its_process(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    cgroup = world.cgroup("browsers")
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        done = world.run([str(own), "192.0.2.1", str(SINK_PORT)], cgroup=cgroup, uid=65534)
        record = firewall.wait_for_record(having(pid=done.pid))

    assert record["cgroup"] == cgroups.below_root(cgroup)
    assert record["cgroup_id"] == cgroup.stat().st_ino
    assert (record["uid"], record["gid"]) == (65534, 65534)
    assert record["netns"] == world.netns_inode(CLIENT)
    assert (record["exe_device"], record["exe_inode"]) == (own.stat().st_dev, own.stat().st_ino)
    assert record["exe"] == str(own)
    assert record["parents"][0]["pid"] == os.getpid()
    assert record["parents"][0]["exe"] == str(Path(sys.executable).resolve())
