"""A network of scenarios, captured, and what its tests do there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from nfsnitch.lab.process import Finished
from nfsnitch.lab.scenario.capture import Captures, Frame
from nfsnitch.lab.scenario.model import Host, Interface, Network, Route, Wire
from nfsnitch.lab.scenario.network import Layout, lacking
from nfsnitch.lab.scenario.sending import RawSender
from nfsnitch.lab.scenario.serving import Served, serve
from nfsnitch.lab.world import CLIENT, SERVER, World

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


@contextmanager
def built_lab() -> Iterator[Lab]:
    """Build the standard network and a host on a side wire, with services and a sender."""
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


def of_udp(frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if UDP in Ether(frame.data) and ICMP not in Ether(frame.data)]
