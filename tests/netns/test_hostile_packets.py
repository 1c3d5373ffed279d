"""Packets that no sane program sends, from raw sockets: each gets exactly one verdict."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
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
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

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
