"""Networks of scenarios: each thing that can be said of one shows in real traffic through it."""

from __future__ import annotations

import dataclasses
import errno
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import rdpcap

from builders import WriteRules
from nfsnitch.lab import namespaces
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.inside import inside
from nfsnitch.lab.process import Finished
from nfsnitch.lab.runs import Run
from nfsnitch.lab.scenario.capture import Captures, Frame, waiting
from nfsnitch.lab.scenario.model import Host, Interface, Network, Route, Wire
from nfsnitch.lab.scenario.network import Layout, lacking
from nfsnitch.lab.scenario.sending import MAX_PACKETS, RawSender, send_frames
from nfsnitch.lab.scenario.serving import Served, serve
from nfsnitch.lab.waiting import LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.vm_guest(modes=("cgroup",)),
]

CLIENT4, CLIENT6 = "192.0.2.2", "2001:db8::2"
SERVER4, SERVER6, SECOND4, OTHER4 = "198.51.100.2", "2001:db8:1::2", "203.0.113.1", "10.9.0.1"
ACCESS = Wire(
    "access",
    (
        Interface(CLIENT, "eth0", ("192.0.2.2/24", "2001:db8::2/64", "fe80::2/64")),
        Interface("router", "eth0", ("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")),
    ),
)
BACKBONE = Wire(
    "backbone",
    (
        Interface("router", "eth1", ("198.51.100.1/24", "2001:db8:1::1/64", "fe80::1/64")),
        Interface(
            SERVER,
            "eth0",
            ("198.51.100.2/24", "203.0.113.1/32", "2001:db8:1::2/64", "fe80::2/64"),
        ),
    ),
)
HOSTS = (
    Host(CLIENT, routes=(Route("default", "192.0.2.1"), Route("default", "2001:db8::1"))),
    Host("router", routes=(Route("203.0.113.1/32", SERVER4),), forwards=True),
    Host(
        SERVER,
        routes=(Route("default", "198.51.100.1"), Route("default", "2001:db8:1::1")),
        services=("echo", "http", "dns"),
    ),
)
SIDE = Wire(
    "side",
    (
        Interface(CLIENT, "eth1", ("10.9.0.2/24", "fe80::2/64")),
        Interface("other-host", "eth0", ("10.9.0.1/24", "fe80::1/64")),
    ),
)
STANDARD = Network((*HOSTS, Host("other-host", services=("echo",))), (ACCESS, BACKBONE, SIDE))
COUNTING = """
table inet counting {
    chain output {
        type filter hook output priority 0; policy accept;
        udp dport 4000 counter
        udp dport 4001 counter drop
    }
}
"""
# Builds a network that does not end by itself, and says its name.
KEEPER = """
import signal, sys
from nfsnitch.lab.scenario.model import Host, Interface, Network, Wire
from nfsnitch.lab.scenario.network import Layout
from nfsnitch.lab.world import World
ends = (Interface("client", "eth0", ("192.0.2.2/24",)), Interface("far-end", "eth0"))
with World(Layout(Network((Host("client"), Host("far-end")), (Wire("wire", ends),)))) as world:
    print(world.run_name, flush=True)
    signal.pause()
"""


@dataclasses.dataclass
class Lab:
    """A built network that is captured."""

    world: World
    captures: Captures
    services: dict[str, Served]
    sender: RawSender

    def arrived(self, host: str, since: int, interface: str | None = None) -> list[Packet]:
        """Return what has come to *host* once all is still, without the chatter of neighbours."""
        self.captures.settled()
        return [
            packet
            for frame in self.captures.frames(host, interface, since)
            if not frame.is_outgoing
            for packet in [Ether(frame.data)]
            if UDP in packet or ICMP in packet
        ]


@pytest.fixture(name="lab", scope="module")
def fixture_lab() -> Iterator[Lab]:
    """Yield the standard network and a host on a side wire, the same for all tests."""
    with (
        World(Layout(STANDARD)) as world,
        Captures(world, STANDARD) as captures,
        RawSender(world, STANDARD) as sender,
    ):
        yield Lab(world, captures, serve(world, STANDARD), sender)


def changed(**wires: Wire) -> Network:
    """Return the two wires without the side wire, some of them changed."""
    return Network(HOSTS, (wires.get("access", ACCESS), wires.get("backbone", BACKBONE)))


def needs(*wanted: str) -> None:
    """Skip the test where the kernel has not what it takes."""
    for need in wanted:
        if why := lacking(need):
            pytest.skip(why.splitlines()[0])


def ping(world: World, address: str, *options: str) -> Finished:
    return world.run(["ping", "-c", "1", "-W", "5", *options, address])


def datagram(dport: int, *, load: bytes = b"hello", sport: int = 53) -> bytes:
    return bytes(IP(src=CLIENT4, dst=SERVER4) / UDP(sport=sport, dport=dport) / Raw(load))


def nft(world: World, *arguments: str, stdin: str | None = None) -> str:
    """Have nft do something in the client's namespace, where no firewall of ours is."""
    argv = ["nft", *arguments]

    def do() -> str:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True)
        return done.stdout

    return inside(world.netns(CLIENT), do)


@pytest.mark.parametrize(
    "address", [SERVER4, SERVER6, SECOND4, OTHER4, "2001:db8::1", "fe80::1%eth0"]
)
def test_every_host_is_reached_by_the_routes_through_routers(lab: Lab, address: str) -> None:
    assert ping(lab.world, address).returncode == 0


@pytest.mark.parametrize("address", [SERVER4, SERVER6, SECOND4])
def test_http_and_echo_answer_from_the_address_that_was_asked(lab: Lab, address: str) -> None:
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    page = lab.world.run(["curl", "-sS", "--max-time", "10", url])
    # A connected socket takes no answer that comes from elsewhere.
    script = (
        "import socket, sys\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "with socket.socket(family, socket.SOCK_DGRAM) as sock:\n"
        "    sock.connect((sys.argv[1], 7))\n"
        "    sock.settimeout(10)\n"
        "    sock.send(b'hello')\n"
        "    print(sock.recv(99))\n"
    )
    echoed = lab.world.run([sys.executable, "-I", "-c", script, address])

    assert page.stdout == "hello from the server\n", page.stderr
    assert echoed.stdout == "b'hello'\n", echoed.stderr


def test_dns_knows_the_names_of_the_standard_network(lab: Lab) -> None:
    asked = ["example.test", "A", "example.test", "AAAA", "other.test", "A", "unknown.test", "A"]

    done = lab.world.run(["dig", f"@{SERVER4}", "+short", "+tries=1", "+time=5", *asked])

    assert done.stdout.split() == [SERVER4, SERVER6, SECOND4]


def test_another_host_has_services_of_its_own(lab: Lab) -> None:
    assert set(lab.services) == {SERVER, "other-host"}
    assert lab.services["other-host"].dns is None
    since = lab.captures.mark()

    done = lab.world.run(["nc.openbsd", "-z", "-v", "-w", "10", OTHER4, "7"])

    lab.captures.settled()
    frames = lab.captures.frames("other-host", since=since)
    assert done.returncode == 0, done.stderr
    assert {Ether(frame.data)[IP].src for frame in frames if not frame.is_outgoing} == {"10.9.0.2"}


def test_the_same_frames_are_seen_from_every_host_each_with_its_direction(lab: Lab) -> None:
    since = lab.captures.mark()

    assert lab.sender.send([datagram(9)]).errnos == (0,)

    lab.captures.settled()
    seen = {
        (host, name): [
            frame.is_outgoing for frame in of_udp(lab.captures.frames(host, name, since))
        ]
        for host, name in [(CLIENT, "eth0"), ("router", "eth0"), ("router", "eth1"), (SERVER, None)]
    }
    assert seen == {
        (CLIENT, "eth0"): [True],
        ("router", "eth0"): [False],
        ("router", "eth1"): [True],
        (SERVER, None): [False],
    }
    times = [frame.time_ns for frame in of_udp(lab.captures.frames("router", None, since))]
    assert times == sorted(times)


def of_udp(frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if UDP in Ether(frame.data) and ICMP not in Ether(frame.data)]


def test_captures_open_no_packet_socket_in_the_client(lab: Lab) -> None:
    def listed() -> list[str]:
        table = Path("/proc/thread-self/net/packet").read_text(encoding="ascii")
        return table.splitlines()[1:]

    assert inside(lab.world.netns(CLIENT), listed) == []
    assert len(inside(lab.world.netns("router"), listed)) == 2


def test_raw_packets_of_the_client_go_through_netfilters_output_hook(lab: Lab) -> None:
    since = lab.captures.mark()
    nft(lab.world, "-f", "-", stdin=COUNTING)
    try:
        six = bytes(IPv6(src=CLIENT6, dst=SERVER6) / UDP(sport=53, dport=4000) / Raw(b"six"))
        told = lab.sender.send([datagram(4000), datagram(4001), six, datagram(4000)], count=2)
        listing = json.loads(nft(lab.world, "-j", "list", "table", "inet", "counting"))
        counted = [
            each["counter"]["packets"]
            for line in listing["nftables"]
            for each in line.get("rule", {}).get("expr", [])
            if "counter" in each
        ]
    finally:
        nft(lab.world, "delete", "table", "inet", "counting")

    assert counted == [6, 2]
    assert told.errnos == (0, errno.EPERM, 0, 0) * 2
    assert str(told) == "6 sent, 2 refused (Operation not permitted)"
    ports = [packet[UDP].dport for packet in lab.arrived(SERVER, since) if UDP in packet]
    assert ports == [4000] * 6


@pytest.mark.bpf
def test_packets_that_wait_in_the_firewalls_queue_are_counted(lab: Lab, rules: WriteRules) -> None:
    assert waiting(lab.world) == 0
    with Firewall(lab.world, [rules("default: ask\ntimeouts: {ask: 10m}\n")]) as firewall:
        told = lab.sender.send([datagram(4000), datagram(4001)])

        assert told.sent == 2
        assert waiting(lab.world) == 2
        firewall.stop()
    assert waiting(lab.world) == 0


def test_the_sender_is_a_program_of_the_client_like_any_other(lab: Lab) -> None:
    copy = lab.world.own_copy(sys.executable, "agent")
    with RawSender(lab.world, STANDARD, program=copy) as sender:
        pid = sender.child.pid
        exe = Path(f"/proc/{pid}/exe").readlink()
        cgroup = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
        first, second = sender.send([datagram(9)]), sender.send([datagram(9)])
        is_the_same = sender.child.pid == pid

    assert exe == copy
    assert cgroup.strip().endswith(f"{lab.world.run_name}/apps")
    assert (first.sent, second.sent, is_the_same) == (1, 1, True)


def test_what_the_kernel_cannot_send_is_told_and_does_not_end_the_sender(lab: Lab) -> None:
    large = datagram(9, load=bytes(3000))

    told = lab.sender.send([b"", b"\x45\0", large, datagram(9)])

    assert told.errnos == (errno.EINVAL, errno.EINVAL, errno.EMSGSIZE, 0)


def test_packets_to_neighbours_of_ipv6_go_to_the_interface_that_is_named(lab: Lab) -> None:
    since = lab.captures.mark()
    packet = bytes(IPv6(src="fe80::2", dst="ff02::1") / UDP(sport=1, dport=4000))

    assert lab.sender.send([packet]).errnos == (0,)
    assert lab.sender.send([packet], interface="eth1").errnos == (0,)

    arrived = [len(lab.arrived(host, since, "eth0")) for host in ("router", "other-host")]
    assert arrived == [1, 1]


def test_packets_are_sent_as_often_and_as_far_apart_as_is_said(lab: Lab) -> None:
    since = lab.captures.mark()

    lab.sender.send([datagram(9), datagram(10)], count=3, every_ns=20_000_000)

    lab.captures.settled()
    frames = of_udp(lab.captures.frames("router", "eth0", since))
    assert [Ether(frame.data)[UDP].dport for frame in frames] == [9, 10] * 3
    assert frames[-1].time_ns - frames[0].time_ns > 90_000_000


def test_a_sender_that_takes_too_long_is_ended_and_can_be_started_again(lab: Lab) -> None:
    with RawSender(lab.world, STANDARD) as sender:
        with pytest.raises(TimeIsOverError, match="1 packets were sent"):
            sender.send([datagram(9)], count=2, every_ns=10**12, within_ns=500_000_000)

        assert sender.send([datagram(9)]).sent == 1


def test_too_many_packets_at_once_are_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="too many"):
        lab.sender.send([datagram(9)], count=MAX_PACKETS + 1)


def test_frames_from_the_router_arrive_at_the_client(lab: Lab) -> None:
    since = lab.captures.mark()
    ping_ = Ether(dst="02:00:00:00:00:0b") / IP(src=SECOND4, dst=CLIENT4) / ICMP(id=77)

    told = send_frames(lab.world, STANDARD, "router", [bytes(ping_)], count=2)

    (first, second) = lab.arrived(CLIENT, since)
    assert told.errnos == (0, 0)
    assert first[IP].src == second[IP].src == SECOND4
    assert [packet[ICMP].id for packet in lab.arrived("router", since)] == [77, 77]  # its answers


def test_frames_are_not_sent_from_the_client_and_not_by_interfaces_that_are_not_there(
    lab: Lab,
) -> None:
    with pytest.raises(LabError, match="not from it"):
        send_frames(lab.world, STANDARD, CLIENT, [b""])
    with pytest.raises(LabError, match="router has no interface eth7; it has: eth0, eth1"):
        send_frames(lab.world, STANDARD, "router", [b""], interface="eth7")


def test_captures_are_written_for_each_interface_and_can_be_read(lab: Lab, tmp_path: Path) -> None:
    lab.captures.clear()
    lab.sender.send([datagram(9, load=b"written")])
    lab.captures.settled()
    (frame,) = of_udp(lab.captures.frames(CLIENT))

    paths = lab.captures.write(tmp_path / "captures")

    assert [path.name for path in paths] == [
        *("client-eth0.pcap", "router-eth0.pcap", "router-eth1.pcap", "server-eth0.pcap"),
        *("client-eth1.pcap", "other-host-eth0.pcap"),
    ]
    (packet,) = [each for each in rdpcap(str(paths[0])) if UDP in each and ICMP not in each]
    assert bytes(packet) == frame.data
    assert packet[Raw].load == b"written"
    assert int(packet.time * 1_000_000_000) == frame.time_ns


def test_captures_keep_no_more_than_they_may_and_count_the_rest(lab: Lab) -> None:
    with Captures(lab.world, STANDARD, max_bytes=20_000) as captures:
        lab.sender.send([datagram(9, load=bytes(1000))], count=50)
        captures.settled()
        kept = captures.frames(CLIENT, "eth0")

        assert 5 < len(kept) < 20
        assert captures.dropped >= 3 * (50 - len(kept))


def test_what_two_networks_of_one_name_differ_in_is_their_own(lab: Lab) -> None:
    wires = (dataclasses.replace(ACCESS, mtu=1280), dataclasses.replace(BACKBONE, mtu=1300))
    hosts = (
        dataclasses.replace(HOSTS[0], sysctls={"net.ipv4.ip_local_port_range": "40000 40001"}),
        *HOSTS[1:],
    )
    script = (
        "import socket\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "    sock.bind(('', 0))\n"
        "    print(sock.getsockname()[1])\n"
    )
    with World(Layout(Network(hosts, wires))) as world:
        too_large = ping(world, SERVER4, "-M", "do", "-s", "1300")
        large_enough = ping(world, SERVER4, "-M", "do", "-s", "1200")
        port = world.run([sys.executable, "-I", "-c", script]).stdout

    assert (too_large.returncode, large_enough.returncode) == (1, 0)
    assert "mtu=1280" in (too_large.stdout + too_large.stderr).replace(" ", "")
    assert port in {"40000\n", "40001\n"}
    assert ping(lab.world, SERVER4, "-M", "do", "-s", "1300").returncode == 0


def test_a_router_that_masquerades_shows_its_own_address() -> None:
    needs("masquerade")
    hosts = (HOSTS[0], dataclasses.replace(HOSTS[1], masquerades="eth1"), HOSTS[2])
    network = Network(hosts, (ACCESS, BACKBONE))
    with (
        World(Layout(network)) as world,
        Captures(world, network) as captures,
        RawSender(world, network) as sender,
    ):
        assert ping(world, SERVER4).returncode == 0
        sender.send([datagram(9)])
        captures.settled()
        sources = {
            Ether(frame.data)[IP].src
            for frame in captures.frames(SERVER)
            if IP in Ether(frame.data) and not frame.is_outgoing
        }

    assert sources == {"198.51.100.1"}


def test_a_slow_wire_takes_its_time_both_ways_and_the_barrier_waits_for_it() -> None:
    needs("netem")
    network = changed(backbone=dataclasses.replace(BACKBONE, delay_ns=150_000_000))
    with (
        World(Layout(network)) as world,
        Captures(world, network) as captures,
        RawSender(world, network) as sender,
    ):
        pinged = ping(world, SERVER4)
        since = captures.mark()
        sender.send([datagram(9)])
        before = of_udp(captures.frames(SERVER, since=since))
        captures.settled()
        after = of_udp(captures.frames(SERVER, since=since))

    milliseconds = float(pinged.stdout.partition("time=")[2].split()[0])
    assert milliseconds >= 300
    assert (len(before), len(after)) == (0, 1)


def test_a_wire_that_loses_all_lets_nothing_through_and_one_that_loses_some_does() -> None:
    needs("netem")
    for loss, least, most in [(100.0, 0, 0), (30.0, 1, 99)]:
        network = changed(access=dataclasses.replace(ACCESS, loss=loss))
        with (
            World(Layout(network)) as world,
            Captures(world, network) as captures,
            RawSender(world, network) as sender,
        ):
            sender.send([datagram(9)], count=100)
            captures.settled()
            came = of_udp(captures.frames(SERVER))

        assert least <= len(came) <= most


def test_a_vlan_tags_what_is_on_the_wire_and_frames_can_be_sent_on_it() -> None:
    needs("vlan")
    network = changed(access=dataclasses.replace(ACCESS, vlan=7))
    with (
        World(Layout(network)) as world,
        Captures(world, network) as captures,
        RawSender(world, network) as sender,
    ):
        reached = [ping(world, address).returncode for address in (SERVER4, SERVER6)]
        captures.settled()
        since = captures.mark()
        sender.send([datagram(9)])
        into = Ether(dst="02:00:00:00:00:0b") / IP(src=SERVER4, dst=CLIENT4) / UDP(dport=5)
        send_frames(world, network, "router", [bytes(into)])
        captures.settled()
        on_wire = of_udp(captures.frames(CLIENT, "eth0.7", since))
        beyond = of_udp(captures.frames(SERVER, since=since))

    assert reached == [0, 0]
    assert [frame.is_outgoing for frame in on_wire] == [True, False]
    assert [Ether(frame.data)[Dot1Q].vlan for frame in on_wire] == [7, 7]
    assert [Dot1Q in Ether(frame.data) for frame in beyond] == [False]


def test_a_wire_of_ipv6_alone_settles_too_and_no_address_shows() -> None:
    ends = (
        dataclasses.replace(ACCESS.ends[0], addresses=("2001:db8::2/64",)),
        dataclasses.replace(ACCESS.ends[1], addresses=("2001:db8::1/64",)),
    )
    network = Network((Host(CLIENT), Host("router")), (dataclasses.replace(ACCESS, ends=ends),))
    with (
        World(Layout(network)) as world,
        Captures(world, network) as captures,
        RawSender(world, network) as sender,
    ):
        echo = IPv6(src=CLIENT6, dst="2001:db8::1") / ICMPv6EchoRequest()
        sender.send([bytes(echo)])
        captures.settled()
        frames = [Ether(frame.data) for frame in captures.frames("router")]
        reached = world.run(["ping", "-c", "1", "-W", "1", "192.0.2.1"])

    assert sum(ICMPv6EchoRequest in frame for frame in frames) == 1
    assert not any(IP in frame for frame in frames)
    assert reached.returncode == 2  # there is no way and no address


def test_a_wire_whose_end_is_down_has_nothing_under_way(lab: Lab) -> None:
    down = ["ip", "link", "set", "eth1", "down"]
    up = ["ip", "link", "set", "eth1", "up"]
    assert lab.world.run(down, cgroup=lab.world.infra).returncode == 0
    try:
        lab.captures.settled()
    finally:
        assert lab.world.run(up, cgroup=lab.world.infra).returncode == 0


def test_a_barrier_that_does_not_come_back_is_an_error() -> None:
    network = Network((Host(CLIENT), Host("router")), (ACCESS,))
    with World(Layout(network)) as world, Captures(world, network) as captures:
        deaf = ["sysctl", "-q", "-w", "net.ipv4.conf.eth0.arp_ignore=8"]
        assert world.run(deaf).returncode == 0

        with pytest.raises(TimeIsOverError, match="client sends to router does not"):
            captures.settled(0.3)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network((Host("router"),), ()), "no host client"),
        (Network((Host(CLIENT),), (ACCESS,)), "no host router"),
    ],
)
def test_a_network_that_names_hosts_it_has_not_is_refused(network: Network, message: str) -> None:
    with pytest.raises(LabError, match=message):
        Layout(network)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (Host(CLIENT, routes=(Route("10.0.0.0/8", "172.16.0.1"),)), "172.16.0.1"),
        (Host(CLIENT, sysctls={"kernel.panic": "1"}), "only those below net"),
        (Host(CLIENT, sysctls={"net.ipv4.no_such_thing": "1"}), "no_such_thing=1"),
    ],
)
def test_a_network_that_cannot_be_built_says_why_and_leaves_nothing(
    host: Host, message: str
) -> None:
    world = World(Layout(Network((host, HOSTS[1]), (ACCESS,))))

    with pytest.raises(LabError, match=message):
        world.__enter__()

    assert traces(world.run_name) == []


def test_a_killed_run_leaves_a_network_that_the_next_one_removes() -> None:
    argv = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            run = Run.of(keeper.stdout.readline().strip())
            assert run is not None
            assert len(traces(run)) == 4
        finally:
            keeper.kill()

    with World():
        assert traces(run) == []


def traces(run: Run) -> list[str]:
    """Return all that there is on this machine under the name of *run*."""
    found = [name for name in namespaces.names() if Run.of(name) == run]
    return found + [str(path) for path in (run.cgroup(), run.folder()) if path.exists()]


def test_the_head_of_a_capture_says_nanoseconds_and_ethernet(lab: Lab, tmp_path: Path) -> None:
    (path, *_) = lab.captures.write(tmp_path)

    assert struct.unpack("<IHHiIII", path.read_bytes()[:24]) == (
        *(0xA1B23C4D, 2, 4, 0, 0, 1 << 18),
        1,
    )
