"""Flows from other network namespaces: containers on a bridge, as engines lay them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.core.record import Json
from nfsnitch.lab.containers import Container, ContainerNetwork
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT, HTTP_PORT, SINK_PORT, WELCOME, Services
from nfsnitch.lab.world import SERVER, World
from reload_play import AT_MOST_S, TALKER, goes_on, reload, said

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
THERE, THERE_6 = "192.0.2.1", "2001:db8::1"
ID = secrets.token_hex(32)
POD = "7d2f1c9a-3b1e-4c5d-8e9f-" + secrets.token_hex(6)
PLACES = {
    "docker": f"docker/{ID}",
    "docker by systemd": f"system.slice/docker-{ID}.scope",
    "podman": f"machine.slice/libpod-{ID}.scope/container",
    "kubernetes": f"kubepods/burstable/pod{POD}/{ID}",
    "kubernetes by systemd": (
        "kubepods.slice/kubepods-besteffort.slice/"
        f"kubepods-besteffort-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope"
    ),
}
"""Engine → where it puts a container's processes, below the root of cgroup v2."""

PREROUTING = "table ip lab_ports { chain pre { type nat hook prerouting priority -100; %s; }; }"

SEND = """
import socket, sys
host, sport, dport, text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", sport))
sock.sendto(text.encode(), (host, dport))
"""
"""Sends one datagram, and ends."""

FORGE = """
import socket, struct, sys
def total(data):
    number = sum(struct.unpack(f">{len(data) // 2}H", data))
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    return ~number & 0xFFFF
saddr, daddr = map(socket.inet_aton, sys.argv[1:3])
sport, dport = map(int, sys.argv[3:5])
udp = struct.pack(">HHHH", sport, dport, 9, 0) + b"f"
ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0, saddr, daddr)
packet = ip[:10] + struct.pack(">H", total(ip)) + ip[12:] + udp
"""
"""Makes a datagram of whole headers, as the argument says."""
FORGE_BY_PACKET_SOCKET = (
    FORGE
    + """
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
sock.sendto(packet, ("eth0", 0x0800, 0, 0, bytes.fromhex(sys.argv[5])))
"""
)
FROM_A_TUNNEL = (
    FORGE
    + """
import fcntl, os
tunnel = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF
print("open", flush=True)
sys.stdin.readline()
os.write(tunnel, packet)
sys.stdin.readline()
"""
)
"""Is a machine behind a tunnel: what it writes has been sent by nobody here."""


@pytest.fixture(name="net")
def fixture_net(world: World) -> Iterator[ContainerNetwork]:
    with ContainerNetwork(world) as net:
        yield net


def container(net: ContainerNetwork, name: str = "one", number: int = 2) -> Container:
    return net.add(name, v2_root() / "docker" / secrets.token_hex(32), number)


def python(script: str, *args: str | int) -> list[str]:
    return ["python3", "-I", "-S", "-c", script, *map(str, args)]


def watching(world: World, rules: Path, cgroup: Path | None = None) -> Firewall:
    return Firewall(world, [rules], cgroup=cgroup or v2_root(), extra=["--forward"])


@pytest.mark.usefixtures("all_services")
@pytest.mark.parametrize("engine", PLACES)
def test_a_container_is_known_by_its_cgroup_and_its_program_by_both_its_paths(
    world: World, rules: WriteRules, net: ContainerNetwork, engine: str
) -> None:
    box = net.add("one", v2_root() / PLACES[engine], 2)
    seen_here = net.own_copy(box, "curl", "/app/curl")
    with watching(world, rules(ALLOW_ALL)) as firewall:
        client = net.start(box, ["/app/curl", "-sS", f"http://{THERE}:{HTTP_PORT}/"])
        done = client.finish(10)
        record = firewall.wait_for_record(having(pid=client.pid))

    assert (done.stdout, done.stderr) == (WELCOME, "")
    assert (record["exe"], record["exe_inside"]) == (str(seen_here), "/app/curl")
    assert record["app"] == f"container:{ID}"
    assert record.get("pod") == (POD if engine.startswith("kube") else None)
    assert (record["owner"], record["attribution"]) == ("process", "egress-probe")
    assert (record["saddr"], record["daddr"]) == ("10.88.0.2", THERE)
    assert (record["iface_in"], record["iface"]) == ("br0", "eth0")


@pytest.mark.usefixtures("all_services")
@pytest.mark.parametrize("host", [THERE, THERE_6])
def test_each_protocol_of_a_container_is_attributed_and_answered(
    world: World, rules: WriteRules, net: ContainerNetwork, host: str
) -> None:
    box = container(net)
    wide = f"[{host}]" if ":" in host else host
    kind = "AAAA" if ":" in host else "A"
    with watching(world, rules(ALLOW_ALL)) as firewall:
        for proto, argv in {
            "tcp": ["curl", "-sS", f"http://{wide}:{HTTP_PORT}/"],
            "udp": ["dig", "+short", "+tries=1", f"@{host}", "example.test", kind],
            "icmpv6" if ":" in host else "icmp": ["ping", "-c", "1", "-W", "5", host],
        }.items():
            client = net.start(box, argv)
            done = client.finish(20)
            record = firewall.wait_for_record(having(pid=client.pid, proto=proto))
            assert done.returncode == 0, done.stderr
            assert (record["attribution"], record["verdict"]) == ("egress-probe", "accept")
            assert "rivals" not in record


@pytest.mark.usefixtures("all_services")
def test_what_a_container_may_not_is_refused_at_once(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    allowed, refused = container(net, "one", 2), container(net, "two", 3)
    text = (
        "default: deny\nunattributed: deny\nrules:\n"
        f"  - {{name: two, action: reject, app: 'container:{refused.cgroup.name}'}}\n"
        f"  - {{name: one, action: allow, app: 'container:{allowed.cgroup.name}'}}\n"
    )
    with watching(world, rules(text)) as firewall:
        outcomes = {}
        for host in (THERE, f"[{THERE_6}]"):
            for box in (allowed, refused):
                client = net.start(box, ["curl", "-sS", "-m", "20", f"http://{host}/"])
                outcomes[host, box.host] = client.finish(30)
        records = firewall.wait_for_records(lambda record: record["proto"] == "tcp", 4)

    for (_, name), done in outcomes.items():
        if name == "one":
            assert done.stdout == WELCOME
        else:
            assert "to connect" in done.stderr
            assert done.elapsed_s < 10
    assert [record["rule"] for record in records] == ["one", "two", "one", "two"]


def test_the_same_tuple_of_two_containers_is_told_apart(
    world: World, services: Services, rules: WriteRules, net: ContainerNetwork
) -> None:
    with ContainerNetwork(world, bridge="br1") as other_net:  # which has the same addresses
        one, two = container(net, "one"), container(other_net, "two")
        text = (
            "default: deny\nunattributed: deny\nrules:\n"
            f"  - {{name: two, action: allow, app: 'container:{two.cgroup.name}'}}\n"
        )
        with watching(world, rules(text)) as firewall:
            senders = [
                net.start(box, python(SEND, THERE, 5_000, SINK_PORT, box.host))
                for box in (one, two, one, two)
            ]
            for sender in senders:
                assert sender.wait(10) == 0
            records = firewall.wait_for_records(having(sport=5_000), 4)

    verdicts = {record["pid"]: (record["iface_in"], record["verdict"]) for record in records}
    expected = [("br0", "drop"), ("br1", "accept")] * 2
    assert verdicts == {
        sender.pid: outcome for sender, outcome in zip(senders, expected, strict=True)
    }
    assert len(services.arrived("udp")) == 2


@pytest.mark.usefixtures("all_services")
def test_a_destination_that_is_translated_here_leads_to_the_sender_all_the_same(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    box = container(net)
    service = "10.96.0.10"
    translating = f"ip daddr {service} tcp dport 8080 dnat to {THERE}:{HTTP_PORT}"
    world.run(["nft", PREROUTING % translating], cgroup=world.infra)
    with watching(world, rules(ALLOW_ALL)) as firewall:
        client = net.start(box, ["curl", "-sS", "-m", "20", f"http://{service}:8080/"])
        done = client.finish(30)
        record = firewall.wait_for_record(having(pid=client.pid))

    assert (done.stdout, done.stderr) == (WELCOME, "")
    assert (record["daddr"], record["dport"]) == (THERE, HTTP_PORT)
    assert record["attribution"] == "egress-probe"


def test_what_another_machine_sends_is_forwarded_and_nobodys_here(
    world: World, services: Services, rules: WriteRules, net: ContainerNetwork
) -> None:
    assert net.bridge
    text = (
        "default: deny\nunattributed: deny\nrules:\n"
        "  - {name: guests, action: allow, owner: forwarded, iface_in: tun0}\n"
    )
    argv = python(FROM_A_TUNNEL, "10.99.0.2", THERE, 5_000, SINK_PORT)
    reading, writing = os.pipe()
    with watching(world, rules(text)) as firewall:
        machine = world.spawn(argv, fds={0: reading})
        machine.wait_for_line(machine.stdout, lambda line: line == "open", 10)
        world.run(["ip", "link", "set", "tun0", "up"], cgroup=world.infra)
        world.run(["ip", "route", "add", "10.99.0.0/24", "dev", "tun0"], cgroup=world.infra)
        os.write(writing, b"\n")
        record = firewall.wait_for_record(having(saddr="10.99.0.2"))
    os.close(reading)
    os.close(writing)

    assert (record["owner"], record["rule"], record["verdict"]) == ("forwarded", "guests", "accept")
    assert (record["iface_in"], record["attribution"]) == ("tun0", "none")
    assert len(services.arrived("udp")) == 1


def test_a_packet_that_no_socket_has_sent_is_unknown_and_never_forwarded(
    world: World, services: Services, rules: WriteRules, net: ContainerNetwork
) -> None:
    box = container(net)
    text = (
        "default: allow\nunattributed: deny\nrules:\n"
        "  - {name: guests, action: allow, owner: forwarded}\n"
    )
    bridge = world.run(["ip", "-br", "link", "show", "br0"], cgroup=world.infra).stdout.split()[2]
    with watching(world, rules(text)) as firewall:
        forged = ("10.88.0.2", THERE, 5_000, SINK_PORT, bridge.replace(":", ""))
        forger = net.start(box, python(FORGE_BY_PACKET_SOCKET, *forged))
        assert forger.wait(10) == 0, forger.stderr.text()
        record = firewall.wait_for_record(having(saddr="10.88.0.2", proto="udp"))

    assert (record["owner"], record["verdict"]) == ("unknown", "drop")
    assert record["reason"] == "unattributed"
    assert not services.arrived("udp")


def test_another_containers_address_does_not_make_a_packet_that_containers(
    world: World, services: Services, rules: WriteRules, net: ContainerNetwork
) -> None:
    with ContainerNetwork(world, "br1", "10.89.0", "fd00:89") as other_net:
        honest, forger = container(net, "one"), container(other_net, "two")
        text = (
            "default: deny\nunattributed: deny\nrules:\n"
            f"  - {{name: one, action: allow, app: 'container:{honest.cgroup.name}'}}\n"
        )
        show = ["ip", "-br", "link", "show", "br1"]
        bridge = world.run(show, cgroup=world.infra).stdout.split()[2].replace(":", "")
        with watching(world, rules(text)) as firewall:
            sender = net.start(honest, python(SEND, THERE, 5_000, SINK_PORT, "one"))
            assert sender.wait(10) == 0
            firewall.wait_for_record(having(pid=sender.pid, verdict="accept"))
            forged = ("10.88.0.2", THERE, 5_000, SINK_PORT, bridge)
            child = other_net.start(forger, python(FORGE_BY_PACKET_SOCKET, *forged))
            assert child.wait(10) == 0, child.stderr.text()
            record = firewall.wait_for_record(having(iface_in="br1", proto="udp"))

    assert (record["owner"], record["verdict"]) == ("unknown", "drop")
    assert len(services.arrived("udp")) == 1


ANSWER = """
import socket
listener = socket.create_server(("10.88.0.2", 8080))
print("ready", flush=True)
sock, _ = listener.accept()
sock.sendall(sock.recv(99).upper())
sock.close()
"""
ASK = """
import socket
with socket.create_connection(("192.0.2.2", 8080), timeout=10) as sock:
    sock.sendall(b"hello")
    print(sock.recv(99).decode())
"""


def test_answers_of_a_container_to_the_outside_are_not_asked_about(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    box = container(net)
    publishing = "iifname eth0 tcp dport 8080 dnat to 10.88.0.2"
    world.run(["nft", PREROUTING % publishing], cgroup=world.infra)
    text = (
        "default: deny\nunattributed: deny\nrules:\n"
        "  - {name: published, action: allow, owner: forwarded, iface: br0, dport: 8080}\n"
    )
    # The lab's server stands for another machine, so what is in its cgroup must not be seen.
    with watching(world, rules(text), box.cgroup) as firewall:
        server = net.start(box, python(ANSWER))
        server.wait_for_line(server.stdout, lambda line: line == "ready", 10)
        asked = world.run(python(ASK), netns=SERVER)
        record = firewall.wait_for_record(having(rule="published"))
        every = firewall.records

    assert asked.stdout == "HELLO\n", asked.stderr
    assert (record["owner"], record["iface_in"]) == ("forwarded", "eth0")
    assert record["daddr"] == "10.88.0.2"
    assert [each["rule"] for each in every if each["proto"] == "tcp"] == ["published"]


def talker(net: ContainerNetwork, box: Container, kind: str, how: str) -> Child:
    child = net.start(box, python(TALKER, kind, THERE, ECHO_PORT, how))
    child.wait_for_line(child.stdout, lambda line: line.startswith("sent 12"), 10)
    return child


@pytest.mark.usefixtures("services")
def test_a_reload_cuts_what_containers_have_under_way_if_the_rules_refuse_it(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    kept, cut = container(net, "one", 2), container(net, "two", 3)
    path = rules(ALLOW_ALL)
    refusing = (
        "default: allow\nunattributed: deny\nrules:\n"
        f"  - {{name: two, action: reject, app: 'container:{cut.cgroup.name}'}}\n"
    )
    with watching(world, path) as firewall:
        staying = [talker(net, kept, kind, "connect") for kind in ("tcp", "udp")]
        ending = talker(net, cut, "tcp", "connect")
        refused = talker(net, cut, "udp", "connect")
        path.write_text(refusing, encoding="utf-8")
        asked = reload(firewall)
        ended, told = said(ending, "ended"), said(refused, "ended")
        records = firewall.wait_for_records(having(reason="cut"), 2)
        for child in staying:
            goes_on(child)

    assert float(ended[1]) - asked < AT_MOST_S
    assert ended[2] == "ConnectionResetError"
    assert told[2] in {"ConnectionRefusedError", "OSError"}
    assert {record["pid"] for record in records} == {ending.pid, refused.pid}
    assert all(record["rule"] == "two" for record in records)


@pytest.mark.usefixtures("services")
def test_a_socket_that_is_older_than_the_daemon_leads_to_its_process(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    box = container(net)
    child = talker(net, box, "udp", "connect")
    with watching(world, rules(ALLOW_ALL)) as firewall:
        record = firewall.wait_for_record(having(pid=child.pid))
        goes_on(child)

    assert (record["owner"], record["verdict"]) == ("process", "accept")
    assert record["attribution"] in {"proc", "egress-probe"}


@pytest.mark.usefixtures("all_services")
def test_without_being_asked_to_it_leaves_alone_what_is_forwarded(
    world: World, rules: WriteRules, net: ContainerNetwork
) -> None:
    box = container(net)
    with Firewall(world, [rules("default: deny\nrules: []\n")], cgroup=v2_root()) as firewall:
        done = net.start(box, ["curl", "-sS", f"http://{THERE}/"]).finish(10)
        seen: list[Json] = [each for each in firewall.records if each["proto"] == "tcp"]

    assert done.stdout == WELCOME
    assert not seen
