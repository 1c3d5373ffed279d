"""Trust in the kernel: a label on the flow's conntrack entry, in a namespace of the test's own."""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from builders import ip, own_netns
from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.nft import ACCEPTED_LABEL, NAME_LABEL, REFUSED_LABEL
from nfsnitch.core.flow import NO_PORTS, Family, Flow, Icmp, Protocol, packed_address

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns]

OURS, OURS6 = "192.0.2.2", "2001:db8::2"
THERE, THERE6 = "192.0.2.1", "2001:db8::1"
TRANSLATED, TRANSLATED6 = "203.0.113.1", "2001:db8:1::1"
SPORT, DPORT, ECHO_ID = 5_000, 4_242, 4_660
LABELLED = """
table inet watch {
    counter labelled { }
    chain output {
        type filter hook output priority 0; policy accept;
        ct label %d counter name labelled
        meta mark 1 ct label set %d
    }
}
table ip nat {
    chain output {
        type nat hook output priority -100; policy accept;
        ip daddr %s dnat to %s
    }
}
table ip6 nat {
    chain output {
        type nat hook output priority -100; policy accept;
        ip6 daddr %s dnat to %s
    }
}
"""


def said(*command: str) -> str:
    """Run a command in the present network namespace; return what it said."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)  # noqa: S607


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    with own_netns():
        yield


@pytest.fixture(name="wire")
def fixture_wire() -> None:
    """Have an interface to send through, address translation, and room for labels."""
    ip("link add eth0 index 11 type veth peer name eth1 index 12")
    for device in ("eth0", "eth1"):
        ip(f"link set {device} addrgenmode none")
        ip(f"link set {device} up")
    ip(f"address add {OURS}/24 dev eth0")
    ip(f"address add {OURS6}/64 dev eth0 nodad")
    ip("route add default dev eth0")
    ip("-6 route add default dev eth0")
    label = ACCEPTED_LABEL
    nft(LABELLED % (label, label, TRANSLATED, THERE, TRANSLATED6, THERE6))


@pytest.fixture(name="conntrack")
def fixture_conntrack(wire: None) -> Iterator[Conntrack]:  # noqa: ARG001  labels need room first
    with closing(Conntrack(ACCEPTED_LABEL, REFUSED_LABEL, NAME_LABEL)) as conntrack:
        yield conntrack


def flow_to(daddr: str, proto: int = Protocol.UDP, icmp: Icmp | None = None) -> Flow:
    """Return the flow as our chains see it: with the address that it was translated to."""
    daddr = {TRANSLATED: THERE, TRANSLATED6: THERE6}.get(daddr, daddr)
    family = Family.IPV6 if ":" in daddr else Family.IPV4
    saddr = OURS6 if ":" in daddr else OURS
    addresses = packed_address(saddr), packed_address(daddr)
    if icmp is not None:
        return Flow(family, proto, *addresses, NO_PORTS, NO_PORTS, icmp)
    return Flow(family, proto, *addresses, SPORT, DPORT)


def send_datagram(daddr: str) -> None:
    domain = socket.AF_INET6 if ipaddress.ip_address(daddr).version == 6 else socket.AF_INET
    with socket.socket(domain, socket.SOCK_DGRAM) as sock:
        sock.bind((OURS6 if ":" in daddr else OURS, SPORT))
        sock.sendto(b"x", (daddr, DPORT))


def send_echo(daddr: str) -> None:
    if ":" in daddr:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, Protocol.ICMPV6) as sock:
            sock.sendto(struct.pack("!BBHHH", 128, 0, 0, ECHO_ID, 1), (daddr, 0))
        return
    checksum = 0xFFFF - (0x0800 + ECHO_ID + 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, Protocol.ICMP) as sock:
        sock.sendto(struct.pack("!BBHHH", 8, 0, checksum, ECHO_ID, 1), (daddr, 0))


def labelled_packets() -> int:
    """Return how many packets have belonged to an entry with our label."""
    listed = said("nft", "list", "counter", "inet", "watch", "labelled")
    return int(listed.split("packets ")[1].split()[0])


UDP_FLOWS = [THERE, THERE6, TRANSLATED, TRANSLATED6]


@pytest.mark.parametrize("daddr", UDP_FLOWS)
def test_the_further_packets_of_a_trusted_flow_carry_the_label(
    conntrack: Conntrack, daddr: str
) -> None:
    send_datagram(daddr)
    send_datagram(daddr)
    assert labelled_packets() == 0

    assert conntrack.trust(flow_to(daddr))

    send_datagram(daddr)
    send_datagram(daddr)
    assert labelled_packets() == 2


@pytest.mark.parametrize("daddr", UDP_FLOWS)
def test_the_packets_of_a_distrusted_flow_do_not_and_it_can_be_trusted_again(
    conntrack: Conntrack, daddr: str
) -> None:
    send_datagram(daddr)
    assert conntrack.trust(flow_to(daddr))

    assert conntrack.distrust(flow_to(daddr))

    assert not conntrack.distrust(flow_to(daddr))
    send_datagram(daddr)
    assert labelled_packets() == 0
    assert conntrack.trust(flow_to(daddr))


@pytest.mark.parametrize("daddr", UDP_FLOWS)
def test_a_flow_without_an_entry_can_be_neither_trusted_nor_distrusted(
    conntrack: Conntrack, daddr: str
) -> None:
    assert not conntrack.trust(flow_to(daddr))
    assert not conntrack.distrust(flow_to(daddr))


@pytest.mark.parametrize(
    "other",
    [
        flow_to(THERE)._replace(sport=SPORT + 1),
        flow_to(THERE)._replace(dport=DPORT + 1),
        flow_to(THERE)._replace(daddr=packed_address("192.0.2.3")),
        flow_to(THERE)._replace(proto=Protocol.TCP),
        flow_to(THERE)._replace(proto=Protocol.SCTP),
        flow_to(THERE)._replace(sport=NO_PORTS, dport=NO_PORTS),
        flow_to(THERE6),
        flow_to(THERE, Protocol.ICMP, Icmp(8, 0, ECHO_ID)),
    ],
)
def test_nothing_but_the_flow_itself_is_touched(conntrack: Conntrack, other: Flow) -> None:
    send_datagram(THERE)
    assert conntrack.trust(flow_to(THERE))

    assert not conntrack.trust(other)
    assert not conntrack.distrust(other)

    send_datagram(THERE)
    assert labelled_packets() == 1


@pytest.mark.parametrize(
    ("daddr", "proto", "kind"),
    [(THERE, Protocol.ICMP, 8), (THERE6, Protocol.ICMPV6, 128)],
)
def test_a_ping_is_told_from_others_by_its_identifier(
    conntrack: Conntrack, daddr: str, proto: int, kind: int
) -> None:
    send_echo(daddr)
    other = flow_to(daddr, proto, Icmp(kind, 0, ECHO_ID + 1))
    assert not conntrack.trust(other)

    assert conntrack.trust(flow_to(daddr, proto, Icmp(kind, 0, ECHO_ID)))

    send_echo(daddr)
    assert labelled_packets() == 1
    assert conntrack.distrust(flow_to(daddr, proto, Icmp(kind, 0, ECHO_ID)))


@pytest.mark.parametrize(
    ("daddr", "proto", "kind"),
    [(TRANSLATED, Protocol.ICMP, 8), (TRANSLATED6, Protocol.ICMPV6, 128)],
)
def test_a_ping_whose_address_was_translated_can_be_trusted(
    conntrack: Conntrack, daddr: str, proto: int, kind: int
) -> None:
    send_echo(daddr)

    assert conntrack.trust(flow_to(daddr, proto, Icmp(kind, 0, ECHO_ID)))


def test_an_error_message_that_is_no_echo_cannot_be_trusted_and_harms_nobody(
    conntrack: Conntrack,
) -> None:
    send_datagram(THERE)
    assert conntrack.trust(flow_to(THERE))

    assert not conntrack.distrust(flow_to(THERE, Protocol.ICMP, Icmp(3, 1, NO_PORTS)))

    send_datagram(THERE)
    assert labelled_packets() == 1


def test_other_labels_on_the_entry_stay() -> None:
    ip("link add eth0 index 11 type veth peer name eth1 index 12")
    ip("link set eth0 up")
    ip(f"address add {OURS}/24 dev eth0")
    nft(
        "table inet watch { counter labelled { }; chain output {"
        " type filter hook output priority 0;"
        " ct label 3 counter name labelled; ct label set 3; }; }"
    )
    send_datagram(THERE)

    with closing(Conntrack(ACCEPTED_LABEL, REFUSED_LABEL, NAME_LABEL)) as conntrack:
        assert conntrack.trust(flow_to(THERE))

    nft("flush chain inet watch output")
    nft("add rule inet watch output ct label 3 counter name labelled")
    before = labelled_packets()
    send_datagram(THERE)
    assert labelled_packets() == before + 1


def test_an_entry_without_room_for_labels_is_not_trusted() -> None:
    ip("link add eth0 index 11 type veth peer name eth1 index 12")
    ip("link set eth0 up")
    ip(f"address add {OURS}/24 dev eth0")
    nft("table inet watch { chain c { type filter hook output priority 0; ct state new; }; }")
    send_datagram(THERE)

    with closing(Conntrack(ACCEPTED_LABEL, REFUSED_LABEL, NAME_LABEL)) as conntrack:
        assert not conntrack.trust(flow_to(THERE))
        assert conntrack.distrust(flow_to(THERE))
