"""Packets that no sane program sends, from raw sockets: each gets exactly one verdict."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.ipsec import AH
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

RULES = """
default: deny
unattributed: deny
rules: [{name: last, action: deny, proto: udp, dport: 65000}]
"""
SEED = 20_261_121

# Sends each packet of a file of lines "FAMILY HEX" as it is, and prints how many left.
SENDER = """
import socket, sys
four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
sent = 0
for line in open(sys.argv[1]):
    family, packet = line.split()
    try:
        if family == "4":
            four.sendto(bytes.fromhex(packet), ("192.0.2.1", 0))
        else:
            six.sendto(bytes.fromhex(packet), ("2001:db8::1", 0))
        sent += 1
    except OSError:
        pass
print(sent)
last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
last.sendto(b"x", ("192.0.2.1", 65000))
"""


def ip(**fields: Any) -> Packet:  # noqa: ANN401  scapy's fields are of many types
    """Return an IPv4 header from the client to the server."""
    return IP(src="192.0.2.2", dst="192.0.2.1", **fields)


def ipv6(**fields: Any) -> Packet:  # noqa: ANN401
    """Return an IPv6 header from the client to the server."""
    return IPv6(src="2001:db8::2", dst="2001:db8::1", **fields)


def cut(packet: Packet, size: int) -> list[Packet]:
    """Return the fragments of an IPv4 packet, with so many bytes each."""
    fragments: list[Packet] = fragment(packet, fragsize=size)  # type: ignore[no-untyped-call]
    return fragments


def cut6(packet: Packet, size: int) -> list[Packet]:
    """Return the fragments of an IPv6 packet, none longer than *size*."""
    fragments: list[Packet] = fragment6(packet, size)  # type: ignore[no-untyped-call]
    return fragments


def random_packets(number: int) -> list[Packet]:
    """Return packets of random protocols with random bytes behind a header that can be routed."""
    source = random.Random(SEED)  # noqa: S311  to be the same each time
    return [
        (ip(proto=source.randrange(256)) if each % 2 else ipv6(nh=source.randrange(256)))
        / Raw(source.randbytes(source.randrange(60)))
        for each in range(number)
    ]


def truncated_packets() -> list[Packet]:
    """Return packets whose transport header is cut off at every length."""
    whole = [
        (header, bytes(transport))
        for header in (ip, ipv6)
        for transport in (TCP(dport=80), UDP(dport=53), SCTP(dport=80), ICMP())
    ]
    numbers = {20: 6, 8: 17, 12: 132}
    return [
        (header(proto=numbers[len(data)]) if header is ip else header(nh=numbers[len(data)]))
        / Raw(data[:length])
        for header, data in whole
        for length in range(len(data))
    ]


def chained_packets() -> list[Packet]:
    """Return IPv6 packets with chains of extension headers, sensible ones and others."""
    links = [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(addresses=["2001:db8::1"]),
        IPv6ExtHdrFragment(id=7),
        AH(),
    ]
    source = random.Random(SEED)  # noqa: S311
    packets = []
    for _ in range(150):
        packet = ipv6()
        for _ in range(source.randrange(1, 12)):
            packet /= source.choice(links).copy()
        packets.append(packet / UDP(dport=53) / Raw(b"x"))
    return packets


def fragments() -> list[Packet]:
    """Return fragments: whole sets, tiny, overlapping, later ones alone."""
    large = UDP(dport=53) / Raw(b"x" * 3000)
    return [
        *cut(ip(id=1) / large, 1000),
        *cut(ip(id=2) / large, 8),
        *reversed(cut(ip(id=3) / large, 1000)),
        ip(id=4, flags="MF", proto=6) / Raw(bytes(TCP(dport=80))[:8]),
        ip(id=4, frag=1, proto=6) / Raw(bytes(TCP(dport=80))[8:]),
        ip(id=5, flags="MF", proto=17) / Raw(bytes(UDP(dport=53)) + b"x" * 16),
        ip(id=5, frag=1, proto=17) / Raw(b"y" * 24),
        ip(id=6, frag=100, proto=17) / Raw(b"alone"),
        *cut6(ipv6() / IPv6ExtHdrFragment(id=8) / large, 1280),
        ipv6() / IPv6ExtHdrFragment(id=9, m=1, nh=17) / Raw(b"z" * 8),
    ]


def odd_segments() -> list[Packet]:
    """Return TCP segments that begin nothing, with every combination of flags."""
    return [ip() / TCP(sport=5000 + flags, dport=80, flags=flags) for flags in range(64)]


def stray_packets() -> dict[str, list[Packet]]:
    """Return packets that belong to no connection, by what they are."""
    inner = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=53, dport=40_000) / Raw(b"data" * 9)
    inner6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=53, dport=40_000)
    record_route = IPOption_RR(length=11, routers=["0.0.0.0", "0.0.0.0"])  # noqa: S104
    large = UDP(sport=7_000, dport=9) / Raw(b"x" * 2_000)
    return {
        "SYN-ACK": [ip() / TCP(sport=6_000, dport=80, flags="SA")],
        "RST": [ip() / TCP(sport=6_001, dport=80, flags="R")],
        "no flags": [ip() / TCP(sport=6_002, dport=80, flags=0)],
        "SYN and FIN": [ip() / TCP(sport=6_003, dport=80, flags="SF")],
        "ACK with data": [ip() / TCP(sport=6_004, dport=80, flags="PA") / Raw(b"data")],
        "ICMP error with data": [ip() / ICMP(type=3, code=3) / Raw(bytes(inner))],
        "ICMPv6 error with data": [ipv6() / ICMPv6DestUnreach(code=4) / Raw(bytes(inner6))],
        "ICMP answer to no question": [ip() / ICMP(type=0, id=9) / Raw(b"data")],
        "from source port 53": [ip() / UDP(sport=53, dport=40_001) / Raw(b"data")],
        "IP options": [ip(options=[record_route]) / UDP(sport=7_001, dport=9) / Raw(b"data")],
        "fragments": cut(ip(id=77) / large, 1_000),
        "bad checksum": [ip() / TCP(sport=6_005, dport=80, flags="S", chksum=1)],
    }


COUNT_ARRIVALS = """
table inet arrivals {
    counter seen { }
    chain prerouting {
        type filter hook prerouting priority -500; policy accept;
        ip saddr 192.0.2.2 counter name seen
        ip6 saddr 2001:db8::2 icmpv6 type 1 counter name seen
    }
}
"""
UNTRACKED = """
table inet untracked {
    chain output {
        type filter hook output priority -300; policy accept;
        notrack
    }
}
"""


def loaded(world: World, path: Path, text: str, netns: str) -> None:
    """Put nft rules in force on a host."""
    path.write_text(text, encoding="ascii")
    done = world.run(["nft", "-f", str(path)], netns=netns)
    assert done.returncode == 0, done.stderr


def seen(world: World) -> int:
    """Return how many packets of the client the server got."""
    listed = world.run(["nft", "list", "counter", "inet", "arrivals", "seen"], netns=SERVER).stdout
    return int(listed.split("packets ")[1].split()[0])


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@pytest.mark.parametrize("loopback", ["skip", "judge"])
def test_each_stray_packet_meets_the_rules_like_the_rest(
    world: World, rules: WriteRules, tmp_path: Path, *, tracked: bool, loopback: str
) -> None:
    loaded(world, tmp_path / "arrivals.nft", COUNT_ARRIVALS, SERVER)
    if not tracked:
        loaded(world, tmp_path / "untracked.nft", UNTRACKED, CLIENT)
    stray = stray_packets()
    listed = tmp_path / "packets"
    for action in ("deny", "allow"):
        text = f"loopback: {loopback}\ndefault: {action}\nunattributed: {action}\n"
        last = "rules: [{name: last, action: deny, proto: udp, dport: 65000}]\n"
        everything = [packet for packets in stray.values() for packet in packets]
        lines = [f"{packet.version} {bytes(packet).hex()}\n" for packet in everything]
        listed.write_text("".join(lines), encoding="ascii")
        before = seen(world)
        with Firewall(world, [rules(text + last)]) as firewall:
            argv = ["python3", "-I", "-S", "-c", SENDER, str(listed)]
            done = world.run(argv, timeout_s=60)
            firewall.wait_for_record(having(rule="last"), timeout_s=30)
            counters = counted(firewall.stop())
        assert int(done.stdout) == len(everything), done.stderr
        assert_one_verdict_each(counters)
        # With fragments put together where conntrack does so.
        assert len(stray) + 1 <= counters[Counter.PACKETS] <= len(everything) + 1
        arrived = seen(world) - before
        if action == "deny":
            assert arrived == 0
        else:
            assert arrived >= len(stray)


@pytest.mark.parametrize(
    ("packets", "at_least"),
    [
        pytest.param(random_packets(1500), 1000, id="random bytes"),
        pytest.param(truncated_packets(), 50, id="truncated headers"),
        pytest.param(chained_packets(), 20, id="IPv6 chains"),
        # The kernel puts them together first; what never becomes whole does not get this far.
        pytest.param(fragments(), 5, id="fragments"),
        pytest.param(odd_segments(), 50, id="TCP flags"),
    ],
)
def test_each_hostile_packet_gets_exactly_one_verdict(
    world: World, rules: WriteRules, tmp_path: Path, packets: list[Packet], at_least: int
) -> None:
    listed = tmp_path / "packets"
    lines = [f"{packet.version} {bytes(packet).hex()}\n" for packet in packets]
    listed.write_text("".join(lines), encoding="ascii")

    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run(["python3", "-I", "-S", "-c", SENDER, str(listed)], timeout_s=60)
        firewall.wait_for_record(having(rule="last"), timeout_s=30)
        queue = world.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout.split()
        counters = counted(firewall.stop())

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > len(packets) / 3
    assert int(queue[2]) == 0  # nothing waits any more
    assert_one_verdict_each(counters)
    assert counters[Counter.PACKETS] >= at_least
    assert counters[Counter.ACCEPTED] == 0
