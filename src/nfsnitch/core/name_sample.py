"""What the kernel has seen of names being asked for and answered, before the asker saw it."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from nfsnitch.core.owner import Owner


class Direction(Enum):
    """Which way a packet went, seen from the socket."""

    SENT = auto()
    RECEIVED = auto()


class TcpPlace(NamedTuple):
    """Where in its connection a segment belongs (RFC 9293); numbers count modulo 2³²."""

    seq: int
    """Of its first byte of data; of a SYN, its own."""
    ack: int
    flags: int
    """FIN 1, SYN 2, RST 4, PSH 8, ACK 16."""


class DnsPacket(NamedTuple):
    """One packet from or to port 53, as a socket of this machine sent it or is to receive it."""

    direction: Direction
    sock_cookie: int
    """Of the socket that sends or receives."""
    netns_cookie: int
    proto: int
    """UDP or TCP (`core.flow.Protocol`)."""
    local: bytes
    """Packed address of this socket."""
    local_port: int
    remote: bytes
    """Packed address of the other end, which has port 53."""
    payload: bytes
    """What is behind the UDP or TCP header."""
    is_cut: bool
    """It was longer than what is copied: the rest of it is missing."""
    seen_ns: int
    """Monotonic."""
    tcp: TcpPlace | None = None


class LibcAnswer(NamedTuple):
    """What the C library has given to a program that asked it for addresses."""

    asker: Owner
    name: str
    """As the program wrote it; hostile."""
    addresses: tuple[bytes, ...]
    """Packed."""
    seen_ns: int
    """Monotonic."""


NameSample = DnsPacket | LibcAnswer
