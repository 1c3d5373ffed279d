"""What a machine must send to be a good host: with `default: deny` it still does."""

from __future__ import annotations

import sys

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import SERVER, World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

DENY = "default: deny\nunattributed: deny\nrules: []\n"
ECHO = f"""
default: deny
unattributed: deny
rules: [{{name: echo, action: allow, proto: tcp, dport: {ECHO_PORT}}}]
"""


def python(script: str, *args: str | int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script, *map(str, args)]


def test_a_scan_of_closed_ports_is_told_at_once_that_they_are_closed(
    world: World, rules: WriteRules
) -> None:
    script = """
import socket
for family, address in ((socket.AF_INET, "192.0.2.2"), (socket.AF_INET6, "2001:db8::2")):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        try:
            one.connect((address, 999))
        except ConnectionRefusedError:
            print("refused")
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.connect((address, 999))
        one.send(b"x")
        try:
            one.recv(1)
        except ConnectionRefusedError:
            print("unreachable")
"""
    with Firewall(world, [rules(DENY)]) as firewall:
        done = world.run(python(script), netns=SERVER)
        counters = counted(firewall.stop())

    assert done.stdout.split() == ["refused", "unreachable"] * 2, done.stderr
    assert counters[Counter.PACKETS] == 0


def test_neighbours_find_each_other_anew(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(DENY)]) as firewall:
        for host in ("client", SERVER):
            world.run(["ip", "neigh", "flush", "dev", "eth0"], netns=host)
        for address in ("192.0.2.2", "2001:db8::2"):
            pinged = world.run(["ping", "-c", "1", "-W", "5", address], netns=SERVER)
            assert pinged.returncode == 0, pinged.stdout
        counters = counted(firewall.stop())

    assert counters[Counter.PACKETS] == 0


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_the_end_of_a_connection_reaches_the_other_side(
    world: World, rules: WriteRules, ending: str
) -> None:
    listen = """
import socket
with socket.create_server(("192.0.2.1", 7)) as server:
    print("ready", flush=True)
    peer, _ = server.accept()
    peer.settimeout(10)
    try:
        while peer.recv(100):
            pass
        print("end")
        peer.sendall(b"late")  # its program is gone: the kernel answers with a reset
        peer.recv(100)
        peer.sendall(b"late")
    except (ConnectionResetError, BrokenPipeError):
        print("reset")
"""
    linger = "sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))"
    script = f"""
import socket, struct
sock = socket.create_connection(("192.0.2.1", 7), 5)
sock.sendall(b"x")
{linger if ending == "reset" else ""}
sock.close()
"""
    with Firewall(world, [rules(ECHO)]) as firewall:
        server = world.spawn(python(listen), netns=SERVER)
        server.wait_for_line(server.stdout, lambda line: line == "ready", 10)
        done = world.run(python(script))
        heard = server.finish(20).stdout.split()[1:]
        counters = counted(firewall.stop())

    assert done.returncode == 0, done.stderr
    assert heard == (["reset"] if ending == "reset" else ["end", "reset"])
    assert counters[Counter.PACKETS] == counters[Counter.ACCEPTED] == 1


def test_a_router_tells_a_sender_that_its_packet_is_too_large(
    world: World, rules: WriteRules
) -> None:
    for command in (
        "ip link add narrow type veth peer name end",
        "ip link set end up",
        "ip link set narrow mtu 1000 up",
        "ip address add 198.18.0.1/24 dev narrow",
        "sysctl -q -w net.ipv4.ip_forward=1",
    ):
        done = world.run(command.split())
        assert done.returncode == 0, done.stderr
    world.run(["ip", "route", "add", "198.18.0.0/24", "via", "192.0.2.2"], netns=SERVER)
    script = """
import socket
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    one.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    one.settimeout(5)
    one.connect(("198.18.0.9", 9))
    one.send(b"x" * 1400)
    try:
        one.recv(1)
    except OSError:
        pass
    print(one.getsockopt(socket.IPPROTO_IP, IP_MTU))
"""
    with Firewall(world, [rules(DENY)]) as firewall:
        told = world.run(python(script), netns=SERVER)
        counters = counted(firewall.stop())

    assert told.stdout.split() == ["1000"], told.stderr
    assert counters[Counter.PACKETS] == 0


def test_a_lease_is_renewed_by_a_rule_for_its_program(world: World, rules: WriteRules) -> None:
    client = world.own_copy(sys.executable, "dhcp-client")
    text = f"""
default: deny
unattributed: deny
rules: [{{name: lease, action: allow, exe: {client}, proto: udp, dport: 67}}]
"""
    serve = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", 67))
    print("ready", flush=True)
    for _ in range(2):
        data, who = one.recvfrom(1000)
        one.sendto(b"ack " + data, who)
"""
    renew = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    one.bind(("", 68))
    one.settimeout(5)
    for daddr in ("192.0.2.1", "255.255.255.255"):
        one.sendto(b"request", (daddr, 67))
        print(one.recv(1000).decode())
"""
    with Firewall(world, [rules(text)]) as firewall:
        server = world.spawn(python(serve), netns=SERVER)
        server.wait_for_line(server.stdout, lambda line: line == "ready", 10)
        done = world.spawn(python(renew), exe=str(client)).finish(20)
        record = firewall.wait_for_record(having(rule="lease", daddr="255.255.255.255"))

    assert done.stdout.splitlines() == ["ack request"] * 2, done.stderr
    assert (record["sport"], record["verdict"]) == (68, "accept")


def test_with_loopback_judged_requests_on_this_machine_meet_the_rules_and_answers_pass(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    script = """
import socket
for address in ("127.0.0.1", "::1", "192.0.2.2"):
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else 2) as s:
        with socket.create_connection(s.getsockname()[:2], 5) as one:
            other, _ = s.accept()
            one.sendall(b"ask")
            other.sendall(other.recv(10) + b"ed")
            print(one.recv(10).decode())
            other.close()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 5353))
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(5)
one.connect(("127.0.0.1", 5353))
for _ in range(3):
    one.send(b"x")
    data, who = udp.recvfrom(10)
    udp.sendto(data, who)
    print(one.recv(10).decode())
one.connect(("127.0.0.1", 999))
one.send(b"x")
try:
    one.recv(1)
except ConnectionRefusedError:
    print("unreachable")
one.connect(("127.0.0.1", 1000))
one.send(b"x")
"""
    text = """
loopback: judge
default: allow
rules: [{name: not there, action: deny, dport: 1000}]
"""
    with Firewall(world, [rules(text)], extra=("--no-cache",)) as firewall:
        done = world.run(python(script))
        denied = firewall.wait_for_record(having(rule="not there"))
        counters = counted(firewall.stop())
        records = [record for record in firewall.records if record["pid"] == done.pid]

    assert done.stdout.split() == ["asked"] * 3 + ["x"] * 3 + ["unreachable"], done.stderr
    assert (denied["verdict"], denied["pid"], denied["iface"]) == ("drop", done.pid, "lo")
    # Three connections, and datagrams to three ports: their answers are no flows of their own.
    assert len(records) == 6
    assert counters[Counter.PACKETS] == 3 + 3 + 1 + 1
