"""Ways around the firewall, each tried: by packets, through queues, with floods."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

NOBODY = 65534
HIGH_PORT = 8443
KERNEL_ONLY = """
default: deny
unattributed: deny
rules: [{name: kernel, action: allow, owner: kernel}]
"""
ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
BOTH_FAMILIES = pytest.mark.parametrize(
    ("ours", "server"),
    [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")],
    ids=["ipv4", "ipv6"],
)


def good_only(good: Path) -> str:
    """Return rules that allow one program, and the kernel."""
    return KERNEL_ONLY.replace("rules: [", f"rules: [{{name: good, action: allow, exe: {good}}}, ")


def python(script: str, *args: str | float, exe: str | Path = "python3") -> list[str]:
    """Return the command line of a Python script that any user can run."""
    return [str(exe), "-I", "-S", "-c", script, *map(str, args)]


def ready(child: Child) -> Child:
    """Wait until a program says so."""
    child.wait_for_line(child.stdout, lambda line: line == "ready", 10)
    return child


def arrived(services: Services, proto: str) -> list[str]:
    """Return what the server's echo and sink have seen of a protocol."""
    return services.arrived(proto)


def nft(world: World, text: str, netns: str = CLIENT) -> None:
    """Give a namespace of the lab rules of somebody else's."""
    done = world.run(["nft", text], netns=netns)
    assert done.returncode == 0, done.stderr


def ruleset(world: World, netns: str = CLIENT) -> str:
    """Return what nft lists in a namespace of the lab."""
    done = world.run(["nft", "list", "ruleset"], netns=netns)
    assert done.returncode == 0, done.stderr
    return done.stdout


# A source that is the server's, made up by a program without privileges; what it sends over the
# loopback interface would make conntrack take what goes to the real server for the answer.
FREEBIND = """
import socket, sys
ours, server, kind, port = *sys.argv[1:4], int(sys.argv[4])
family = socket.AF_INET6 if ":" in ours else socket.AF_INET
level, name = (socket.IPPROTO_IPV6, 78) if ":" in ours else (socket.IPPROTO_IP, 15)
kind = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
def new():
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock
receiver = new()
receiver.bind((ours, 5000))
fillers = [receiver]
if kind == socket.SOCK_STREAM:
    receiver.listen(0)
    try:
        while True:  # until it leaves unanswered what comes
            fillers.append(new())
            fillers[-1].settimeout(0.1)
            fillers[-1].connect((ours, 5000))
    except TimeoutError:
        pass
made_up = new()
made_up.setsockopt(level, name, 1)
made_up.bind((server, port))
made_up.settimeout(0.2)
try:
    made_up.connect((ours, 5000))
    made_up.send(b"x")
except OSError as problem:
    print("made up:", problem)
made_up.close()
for filler in fillers:
    filler.close()
sock = new()
sock.bind((ours, 5000))
sock.settimeout(0.3)
try:
    sock.connect((server, port))
    sock.send(b"exfiltrated")
    print("GOT", sock.recv(100))
except OSError as problem:
    print("answer:", problem)
"""


@BOTH_FAMILIES
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_made_up_source_on_the_loopback_interface_does_not_make_an_answer_that_leaves(
    world: World, rules: WriteRules, ours: str, server: str, proto: str
) -> None:
    # A port that the attacker, too, may bind to.
    command = [sys.executable, "-m", "nfsnitch.lab.echo", "--echo", str(HIGH_PORT)]
    echo = ready(world.spawn(command, netns=SERVER, env=same_modules()))
    with Firewall(world, [rules(KERNEL_ONLY)]) as firewall:
        argv = python(FREEBIND, ours, server, proto, HIGH_PORT)
        attacker = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(daddr=server, proto=proto, sport=5000))
        firewall.stop()

    assert attacker.returncode == 0, attacker.stderr
    assert "answer: timed out" in attacker.stdout
    assert (record["verdict"], record["pid"]) == ("drop", attacker.pid)
    assert echo.stdout.lines() == ["ready"]


CONNECT = """
import socket, sys
sock = socket.socket()
sock.settimeout(float(sys.argv[3]))
try:
    sock.connect((sys.argv[1], int(sys.argv[2])))
    sock.send(b"x")
    print("GOT", sock.recv(100))
except OSError as problem:
    print(problem)
"""
DNAT = """
add table ip somebody
add chain ip somebody output { type nat hook output priority -100; }
add rule ip somebody output ip daddr { 192.0.2.2, 198.51.100.1 } tcp dport 8080 dnat to 192.0.2.1:7
"""


@pytest.mark.parametrize("daddr", ["192.0.2.2", "198.51.100.1"], ids=["local", "remote"])
def test_a_destination_that_is_translated_to_another_machine_is_judged_by_where_it_goes(
    world: World, services: Services, rules: WriteRules, daddr: str
) -> None:
    nft(world, DNAT)
    with Firewall(world, [rules(KERNEL_ONLY)]) as firewall:
        attacker = world.run(python(CONNECT, daddr, 8080, 0.5), uid=NOBODY)
        record = firewall.wait_for_record(having(proto="tcp"))
        firewall.stop()

    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["pid"]) == ("drop", attacker.pid)
    assert (record["daddr"], record["dport"]) == ("192.0.2.1", ECHO_PORT)
    assert arrived(services, "tcp") == []


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("daddr", ["192.0.2.2", "198.51.100.1"], ids=["local", "remote"])
@pytest.mark.vm_guest(modes=("lsm",))
def test_a_connection_whose_destination_is_translated_is_attributed_to_its_process(
    world: World, rules: WriteRules, daddr: str
) -> None:
    good = world.own_copy("python3", "good")
    nft(world, DNAT)
    with Firewall(world, [rules(good_only(good))]) as firewall:
        done = world.run(python(CONNECT, daddr, 8080, 5, exe=good), uid=NOBODY)
        record = firewall.wait_for_record(having(proto="tcp"))

    assert done.stdout == "GOT b'x'\n", done.stderr
    assert (record["verdict"], record["rule"]) == ("accept", "good")
    assert (record["pid"], record["exe"]) == (done.pid, str(good))


# Goes without a word, as a machine does that loses its power: conntrack believes it is still there.
GONE_SILENTLY = """
import socket, sys
TCP_REPAIR = 19
sock = socket.socket()
sock.bind(("192.0.2.2", 7777))
sock.connect(("192.0.2.1", int(sys.argv[1])))
sock.send(b"x")
assert sock.recv(1) == b"x"
sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
sock.close()
"""
SYN_COUNTER = """
add table inet watch
add chain inet watch input { type filter hook input priority 0; }
add rule inet watch input tcp sport 7777 tcp flags syn / syn,ack,rst,fin counter
"""
SAME_TUPLE = """
import socket, sys
sock = socket.socket()
sock.bind(("192.0.2.2", 7777))
sock.settimeout(2.5)
try:
    sock.connect(("192.0.2.1", int(sys.argv[1])))
    print("CONNECTED")
except OSError as problem:
    print(problem)
"""


def test_a_new_connection_on_a_tuple_that_conntrack_calls_established_is_judged(
    world: World, services: Services, rules: WriteRules
) -> None:
    good = world.own_copy("python3", "good")
    nft(world, SYN_COUNTER, netns=SERVER)
    with Firewall(world, [rules(good_only(good))]) as firewall:
        before = world.run(python(GONE_SILENTLY, ECHO_PORT, exe=good))
        attacker = world.run(python(SAME_TUPLE, ECHO_PORT), uid=NOBODY)
        record = firewall.wait_for_record(having(pid=attacker.pid))
        firewall.stop()

    assert before.returncode == 0, before.stderr
    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["sport"]) == ("drop", 7777)
    assert "counter packets 1 " in ruleset(world, netns=SERVER)
    assert arrived(services, "tcp") == [f"tcp 192.0.2.2 7777 192.0.2.1 {ECHO_PORT}"]


MANY_DATAGRAMS = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("192.0.2.1", int(sys.argv[1])))
"""


def test_what_is_recorded_as_accepted_while_it_stops_does_arrive(
    world: World, services: Services, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        daemon = firewall.child
        daemon.send(signal.SIGSTOP)
        sender = world.run(python(MANY_DATAGRAMS, SINK_PORT, 600), uid=NOBODY)
        queued = int(world.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout.split()[2])
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGCONT)
        ended = daemon.finish(20)
        accepted = [record for record in firewall.records if record["verdict"] == "accept"]
        seen = 0
        for line in services.arrivals.follow(timeout_s=5):
            seen += line.startswith("udp")
            if seen == len(accepted):
                break

    assert sender.returncode == 0, sender.stderr
    assert ended.returncode == 0, ended.stderr
    assert queued == 600
    assert len(accepted) == 600
    assert seen == 600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("services")
def test_with_nobody_reading_its_output_it_works_and_leaves_no_rule_behind(
    world: World, rules: WriteRules, tmp_path: Path, number: signal.Signals
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "nfsnitch.cli", "run", "--rules", str(rules(ALLOW_ALL))]
    argv += ["--cgroup", str(world.apps), "--records", "-"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), **same_modules()}
        try:
            daemon = world.spawn(argv, cgroup=world.infra, env=env, stdout=writer)
        finally:
            os.close(writer)
        assert manager.recv(100) == b"READY=1"
    in_force = ruleset(world)
    done = world.run(python(CONNECT, "192.0.2.1", ECHO_PORT, 5))
    daemon.stop(number)

    assert "table inet nfsnitch" in in_force
    assert done.stdout == "GOT b'x'\n"
    assert "nfsnitch: stopped (packets " in daemon.stderr.text()
    assert ruleset(world) == ""


SOCKET_FLOOD = """
import socket, sys
kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[sys.argv[1]]
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    socket.socket(socket.AF_INET, kind).close()
print("done", flush=True)
"""


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_flood_of_sockets_pushes_nobody_out_and_takes_no_memory(
    world: World, rules: WriteRules, kind: str
) -> None:
    own = world.own_copy(build_program("one_connect"), "connects")
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        flood = ready(world.spawn(python(SOCKET_FLOOD, kind, 200_000), uid=NOBODY))
        members = swarm(world, 100, own, "192.0.2.1", str(SINK_PORT), jobs=1)
        still_flooding = not flood.has_ended()
        records = firewall.wait_for_records(having(proto="tcp"), 100)
        flood.finish(30)
        rss_kb = resident_kb(firewall.child.pid)
        after = swarm(world, 20, own, "192.0.2.1", str(SINK_PORT), jobs=1)
        records += firewall.wait_for_records(having(proto="tcp"), 120)[100:]
        counters = counted(firewall.stop())

    assert still_flooding
    assert flood.stdout.lines() == ["ready", "done"]
    assert rss_kb < 60_000
    assert {(record["owner"], record["exe"]) for record in records} == {("process", str(own))}
    assert {record["pid"] for record in records} == {
        sender.pid for sender in (*members.sent, *after.sent)
    }
    assert counters[Counter.OWNERS_FULL] == 0
    assert counters[Counter.IMAGES_FULL] == 0


def resident_kb(pid: int) -> int:
    """Return how much memory a process has in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1])


HOSTS = ("192.0.2.1", "198.51.100.1")
PING_RULES = """
default: deny
unattributed: deny
rules: [{name: ping, action: allow, exe: /usr/bin/ping}]
"""


def next_answered(ping: Child, count: int) -> list[int]:
    """Wait until so many more are answered, and return their numbers."""
    lines = ping.stdout.follow(timeout_s=20, ends_fd=ping.pidfd, start=len(ping.stdout.lines()))
    found = (re.search(r"icmp_seq=(\d+) ", line) for line in lines)
    return [int(each[1]) for each in itertools.islice(filter(None, found), count)]


def test_two_pings_at_once_both_work_where_ping_is_allowed(world: World, rules: WriteRules) -> None:
    """While both run: whose a packet is that was sent as another began or ended, may be unknown."""
    with Firewall(world, [rules(PING_RULES)]):
        pings = [world.spawn(["ping", "-n", "-i", "0.2", host]) for host in HOSTS]
        for ping in pings:
            ping.wait_for_line(ping.stdout, lambda line: "icmp_seq=" in line, 20)
        numbers = [next_answered(ping, 6) for ping in pings]

    assert [[each - first for each in more] for first, *more in numbers] == [[1, 2, 3, 4, 5]] * 2


RAW_SENDER = """
import os, socket, struct, sys
echo = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)
proto, packet = int(sys.argv[1]), echo
if proto == socket.IPPROTO_RAW:
    addresses = socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1")
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 1, 0) + addresses + echo
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
print("ready", flush=True)
os.read(0, 1)
sock.sendto(packet, ("192.0.2.1", 0))
if sys.argv[2] == "stays":
    os.read(0, 1)
"""
RAW_HOLDER = """
import os, socket
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ready", flush=True)
os.read(0, 1)
"""


@pytest.mark.parametrize(
    ("proto", "after", "older"),
    [
        pytest.param(socket.IPPROTO_ICMP, "stays", False, id="same-protocol"),
        pytest.param(
            *(socket.IPPROTO_ICMP, "goes", False),
            id="closed-at-once",
        ),
        pytest.param(
            *(socket.IPPROTO_ICMP, "stays", True),
            id="older-than-the-daemon",
        ),
        pytest.param(
            *(socket.IPPROTO_RAW, "stays", False),
            id="every-protocol",
        ),
    ],
)
def test_a_raw_socket_does_not_send_in_the_name_of_another_programs(
    world: World, rules: WriteRules, proto: int, after: str, *, older: bool
) -> None:
    good = world.own_copy("python3", "good")
    argv = python(RAW_SENDER, proto, after)
    with pipe() as (stdin, tell), pipe() as (held, _), ExitStack() as stack:
        if older:
            ready(world.spawn(argv, fds={0: stdin}))
        firewall = stack.enter_context(Firewall(world, [rules(good_only(good))]))
        if not older:
            ready(world.spawn(argv, fds={0: stdin}))
        ready(world.spawn(python(RAW_HOLDER, exe=good), fds={0: held}))
        tell.write(b"!")
        record = firewall.wait_for_record(having(proto="icmp"))

    assert record["verdict"] == "drop"


@contextmanager
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Yield the end to read from and the end to write to."""
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb", buffering=0) as writer:
            yield read_fd, writer
    finally:
        os.close(read_fd)
