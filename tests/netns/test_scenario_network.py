"""Networks of scenarios: each thing that can be said of one shows in real traffic through it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether

from network_play import (
    ACCESS,
    BACKBONE,
    CLIENT4,
    CLIENT6,
    HOSTS,
    OTHER4,
    SECOND4,
    SERVER4,
    SERVER6,
    Lab,
    built_lab,
    changed,
    datagram,
    needs,
    of_udp,
    ping,
)
from nfsnitch.lab import namespaces
from nfsnitch.lab.runs import Run
from nfsnitch.lab.scenario.capture import Captures
from nfsnitch.lab.scenario.model import Host, Network, Route
from nfsnitch.lab.scenario.network import Layout
from nfsnitch.lab.scenario.sending import RawSender, send_frames
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
]

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


@pytest.fixture(name="lab", scope="module")
def fixture_lab() -> Iterator[Lab]:
    with built_lab() as lab:
        yield lab


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


@pytest.mark.vm_guest(lines=("6.12",), modes=("cgroup",))
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


@pytest.mark.vm_guest(lines=("6.12",), modes=("cgroup",))
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
        captures.settled()
        (left,) = of_udp(captures.frames(CLIENT, since=since))
        (came,) = of_udp(captures.frames(SERVER, since=since))

    milliseconds = float(pinged.stdout.partition("time=")[2].split()[0])
    assert milliseconds >= 300
    assert came.time_ns - left.time_ns >= 150_000_000


@pytest.mark.vm_guest(lines=("6.12",), modes=("cgroup",))
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


@pytest.mark.vm_guest(lines=("6.12",), modes=("cgroup",))
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
