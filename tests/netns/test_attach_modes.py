"""The modes with a probe on the queue: the packet itself says which socket it came from."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from attach_mode import refusals
from builders import WriteRules
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import Sent, build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    # Each gives its firewall a mode of its own, so once is enough.
    pytest.mark.vm_guest(modes=("lsm",)),
]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
NOBODY = 65534


@pytest.fixture(name="mode", params=[AttachMode.LSM, AttachMode.KPROBE])
def fixture_mode(request: pytest.FixtureRequest) -> AttachMode:
    mode = AttachMode(request.param)
    why_not = refusals()[mode]
    if why_not is not None:
        pytest.skip(f"attach mode {mode}: {why_not}")
    return mode


def python(script: str, *args: str | int) -> list[str]:
    return ["python3", "-I", "-S", "-c", script, *map(str, args)]


@contextmanager
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Yield the end to read from and the end to write to."""
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb", buffering=0) as writer:
            yield read_fd, writer
    finally:
        os.close(read_fd)


def said(child: Child, word: str) -> Child:
    """Wait until a program has said a word."""
    child.wait_for_line(child.stdout, lambda line: line == word, 30)
    return child


def skip_without(family: socket.AddressFamily, kind: socket.SocketKind, proto: int) -> None:
    try:
        socket.socket(family, kind, proto).close()
    except OSError as problem:
        if problem.errno not in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOPROTOOPT):
            raise
        pytest.skip(f"no sockets of protocol {proto}: {problem}")


def test_auto_takes_the_best_mode_and_says_which_and_why(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW_ALL)], attach=AttachMode.AUTO) as firewall:
        stderr = firewall.stop().stderr

    best = next(mode for mode, why_not in refusals().items() if why_not is None)
    assert f"attach mode {best}: " in stderr
    for mode, why_not in refusals().items():
        if why_not is None:
            break
        assert f"{mode} cannot be had ({why_not})" in stderr


SENDS = """
import os, socket, sys
how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
if how == "tcp":
    socket.create_connection((host, port), timeout=10)
elif how == "mptcp":
    with socket.socket(family, socket.SOCK_STREAM, 262) as sock:
        sock.connect((host, port))
elif how == "sctp":
    with socket.socket(family, socket.SOCK_STREAM, 132) as sock:
        sock.setblocking(False)
        sock.connect_ex((host, port))
elif how == "fastopen":
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.sendto(b"x", socket.MSG_FASTOPEN, (host, port))
elif how == "connected":
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        sock.send(b"x")
elif how == "sendto":
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (host, port))
elif how == "echo":
    proto, kind = (58, 128) if family == socket.AF_INET6 else (1, 8)
    with socket.socket(family, socket.SOCK_DGRAM, proto) as sock:
        sock.sendto(bytes([kind, 0, 0, 0, 0, 0, 0, 1]), (host, 0))
elif how == "raw":
    with socket.socket(family, socket.SOCK_RAW, 47) as sock:
        sock.sendto(b"0123456789abcdef", (host, 0))
elif how == "forged":
    with socket.socket(family, socket.SOCK_RAW, 17) as sock:
        sock.sendto(bytes([0x30, 0x39, 0, 9, 0, 9, 0, 0, 1]), (host, 0))
"""
NUMBERS = {"mptcp": 262, "sctp": 132, "udplite": 136}
PROTO_NAMES = {"raw": "gre", "forged": "udp", "connected": "udp", "sendto": "udp", "sctp": "sctp"}


@pytest.mark.usefixtures("services")
def test_every_kind_of_socket_is_known_by_its_packets(
    world: World, rules: WriteRules, mode: AttachMode
) -> None:
    hows = ["tcp", "fastopen", "connected", "sendto", "echo", "raw", "forged"]
    script = world.folder / "sends.py"
    script.write_text(SENDS, "ascii")
    for host in ("192.0.2.1", "2001:db8::1"):
        with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
            allow_ping_sockets = ["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"]
            world.run(allow_ping_sockets)
            for how in hows:
                # In a file: of longer arguments the kernel's part keeps nothing.
                argv = ["python3", "-I", "-S", str(script), how, host, str(SINK_PORT)]
                done = world.run(argv, timeout_s=60)
                assert done.returncode == 0, done.stderr
                record = firewall.wait_for_record(having(pid=done.pid), timeout_s=30)
                assert record["attribution"] == "queue-probe", (how, record)
                assert record["args"] == argv


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("how", ["mptcp", "sctp"])
def test_protocols_with_sockets_of_other_kinds_are_known_by_their_packets(
    world: World, rules: WriteRules, mode: AttachMode, how: str
) -> None:
    skip_without(socket.AF_INET, socket.SOCK_STREAM, NUMBERS[how])
    with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
        done = world.run(python(SENDS, how, "192.0.2.1", SINK_PORT), timeout_s=60)
        assert done.returncode == 0, done.stderr
        record = firewall.wait_for_record(having(pid=done.pid), timeout_s=30)

    assert (record["attribution"], record["dport"]) == ("queue-probe", SINK_PORT)
    assert record["proto"] == PROTO_NAMES.get(how, "tcp")


JOINS_GROUP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton("233.252.0.1") + socket.inet_aton("192.0.2.2")
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
"""
MAKES_TUNNEL = """
ip link add tunnel type {kind}
ip address add 198.51.100.2/24 dev tunnel
ip link set tunnel up
"""
TUNNELS = {
    "gre": "gre local 192.0.2.2 remote 192.0.2.1",
    "udp": "vxlan id 7 local 192.0.2.2 remote 192.0.2.1 dstport 4789 dev eth0",
}


def test_what_the_kernel_sends_by_itself_is_the_kernels(
    world: World, rules: WriteRules, mode: AttachMode
) -> None:
    with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
        world.run(python(JOINS_GROUP))
        record = firewall.wait_for_record(having(proto="igmp"), timeout_s=30)

    assert (record["owner"], record["attribution"]) == ("kernel", "queue-probe")


@pytest.mark.parametrize("outer", ["gre", "udp"])
def test_of_a_tunnel_the_inner_packet_is_the_programs_and_the_outer_one_the_kernels(
    world: World, rules: WriteRules, mode: AttachMode, outer: str
) -> None:
    made = world.run(["sh", "-ec", MAKES_TUNNEL.format(kind=TUNNELS[outer])])
    if made.returncode:
        pytest.skip(f"this kernel makes no such tunnel: {made.stderr}")
    neighbour = "ip neighbour replace 198.51.100.1 lladdr 02:00:00:00:00:01 dev tunnel"
    world.run(["sh", "-c", neighbour])
    with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
        done = world.run(python(SENDS, "sendto", "198.51.100.1", SINK_PORT))
        inner = firewall.wait_for_record(having(daddr="198.51.100.1"), timeout_s=30)
        fits = having(proto=outer, daddr="192.0.2.1")
        record = firewall.wait_for_record(fits, timeout_s=30)

    assert (inner["pid"], inner["attribution"]) == (done.pid, "queue-probe")
    assert (record["owner"], record["attribution"]) == ("kernel", "queue-probe")


KEEPS_SENDING = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[2] == "shared":
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("192.0.2.2", 5353))
sock.connect(("192.0.2.1", int(sys.argv[1])))
print("ready", flush=True)
for _ in sys.stdin:
    sock.send(b"x" * int(sys.argv[3]))
    print("sent", flush=True)
"""


def test_a_socket_that_is_older_than_the_daemon_is_known_by_whoever_sends_through_it(
    world: World, rules: WriteRules, mode: AttachMode
) -> None:
    argv = python(KEEPS_SENDING, SINK_PORT, "alone", 1)
    with pipe() as (stdin, tell):
        child = said(world.spawn(argv, fds={0: stdin}), "ready")
        with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
            tell.write(b"now\n")
            record = firewall.wait_for_record(having(proto="udp"), timeout_s=30)

    assert (record["pid"], record["attribution"]) == (child.pid, "queue-probe")
    assert record["args"] == argv


def test_two_programs_that_share_a_port_are_told_apart(
    world: World, services: Services, rules: WriteRules, mode: AttachMode
) -> None:
    good = world.own_copy("python3", "good")
    only_good = f"default: deny\nrules: [{{name: good, action: allow, exe: {good}}}]\n"
    with (
        pipe() as (ours, tell_good),
        pipe() as (theirs, tell_other),
        Firewall(world, [rules(only_good)], attach=mode) as firewall,
    ):
        argv = python(KEEPS_SENDING, ECHO_PORT, "shared", 4)
        child = said(world.spawn([str(good), *argv[1:]], fds={0: ours}), "ready")
        argv = python(KEEPS_SENDING, ECHO_PORT, "shared", 14)
        other = said(world.spawn(argv, fds={0: theirs}), "ready")
        verdicts: list[Json] = []
        for number in range(3):
            for tell, sender in ((tell_other, other), (tell_good, child)):
                tell.write(b"now\n")
                pid_and_count = having(pid=sender.pid)
                if number == 0:
                    verdicts.append(firewall.wait_for_record(pid_and_count, timeout_s=30))
                    services.arrived()
        firewall.stop()

    by_pid = {(each["pid"], each["verdict"]) for each in verdicts}
    assert by_pid == {(other.pid, "drop"), (child.pid, "accept")}
    sizes = [int(line.split()[-1]) for line in services.arrived() if "udp" in line]
    assert set(sizes) == {4}


@pytest.mark.usefixtures("services")
def test_short_lived_senders_that_connect_are_all_known_by_their_packets(
    world: World, rules: WriteRules, mode: AttachMode
) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    with Firewall(world, [rules(ALLOW_ALL)], attach=mode) as firewall:
        gone = swarm(world, 300, own, "--connect", "192.0.2.1", str(SINK_PORT))
        found = firewall.wait_for_records(having(exe=str(own)), 300, timeout_s=60)

    assert {Sent(each["pid"], each["sport"]) for each in found} == set(gone.sent)
    assert {each["attribution"] for each in found} == {"queue-probe"}
