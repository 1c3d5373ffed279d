"""Senders and captures of scenarios: what is sent, what is seen of it, and that no more comes."""

from __future__ import annotations

import errno
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import rdpcap

from builders import WriteRules
from network_play import (
    ACCESS,
    CLIENT4,
    CLIENT6,
    SECOND4,
    SERVER6,
    STANDARD,
    Lab,
    built_lab,
    datagram,
    of_udp,
)
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.inside import inside
from nfsnitch.lab.scenario.capture import Captures, waiting
from nfsnitch.lab.scenario.model import Host, Network
from nfsnitch.lab.scenario.network import Layout
from nfsnitch.lab.scenario.sending import MAX_PACKETS, RawSender, send_frames
from nfsnitch.lab.waiting import LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
]

COUNTING = """
table inet counting {
    chain output {
        type filter hook output priority 0; policy accept;
        udp dport 4000 counter
        udp dport 4001 counter drop
    }
}
"""


@pytest.fixture(name="lab", scope="module")
def fixture_lab() -> Iterator[Lab]:
    with built_lab() as lab:
        yield lab


def nft(world: World, *arguments: str, stdin: str | None = None) -> str:
    """Have nft do something in the client's namespace, where no firewall of ours is."""
    argv = ["nft", *arguments]

    def do() -> str:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True)
        return done.stdout

    return inside(world.netns(CLIENT), do)


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


def test_a_wire_whose_end_is_down_has_nothing_under_way() -> None:
    network = Network((Host(CLIENT), Host("router")), (ACCESS,))
    with World(Layout(network)) as world, Captures(world, network) as captures:
        assert world.run(["ip", "link", "set", "eth0", "down"]).returncode == 0
        since = captures.mark()

        captures.settled(10)

        arrived = [each for each in captures.frames("router", since=since) if not each.is_outgoing]
        assert arrived == []


def test_a_barrier_that_does_not_come_back_is_an_error() -> None:
    network = Network((Host(CLIENT), Host("router")), (ACCESS,))
    with World(Layout(network)) as world, Captures(world, network) as captures:
        deaf = ["sysctl", "-q", "-w", "net.ipv4.conf.eth0.arp_ignore=8"]
        assert world.run(deaf).returncode == 0

        with pytest.raises(TimeIsOverError, match="client sends to router does not"):
            captures.settled(0.3)


def test_the_head_of_a_capture_says_nanoseconds_and_ethernet(lab: Lab, tmp_path: Path) -> None:
    (path, *_) = lab.captures.write(tmp_path)

    assert struct.unpack("<IHHiIII", path.read_bytes()[:24]) == (
        *(0xA1B23C4D, 2, 4, 0, 0, 1 << 18),
        1,
    )
