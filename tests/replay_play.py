"""Captures and records made for replays, and what a replay says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

from nfsnitch import cli

CLIENT, SERVER, OTHER, RESOLVER = "192.0.2.2", "198.51.100.2", "203.0.113.1", "192.0.2.53"
CLIENT_6, SERVER_6 = "2001:db8::2", "2001:db8:1::2"
START_S = 1_800_000_000
ALLOW = "default: allow\nunattributed: allow\nrules: []"
WEB = ("tcp 198.51.100.2 80", "allow unattributed")
"""What is told of a segment of the client's by these rules."""
JSON = Any


class Play:
    """A folder with rules and captures, in which `nfsnitch lab replay` is called."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.status = 0
        self.said_wrong = ""

    def rules(self, text: str, name: str = "rules.yaml") -> Path:
        """Write a rule file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def capture(self, packets: Iterable[Packet], name: str = "some.pcap") -> Path:
        """Write a capture, each packet 10 ms after the one before unless it has a time."""
        path, written = self.folder / name, list[Packet]()
        for at, packet in enumerate(packets):
            frame = packet if isinstance(packet, Ether) else ethernet(packet)
            if packet.sent_time is None:
                frame.time = START_S + at / 100
            else:
                frame.time = START_S + packet.sent_time
            written.append(frame)
        wrpcap(str(path), written)
        return path

    def records(self, lines: Iterable[str], name: str = "records.jsonl") -> Path:
        """Write a file of records."""
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def said(self, *arguments: str | Path) -> str:
        """Return what is printed for people."""
        self.status = cli.main(["lab", "replay", *map(str, arguments)])
        captured = self._capsys.readouterr()
        self.said_wrong = captured.err
        return captured.out

    def document(self, *arguments: str | Path) -> JSON:
        """Return what is printed as JSON."""
        return json.loads(self.said(*arguments, "--json"))

    def rows(self, *arguments: str | Path) -> list[JSON]:
        """Return the rows of that."""
        rows: list[JSON] = self.document(*arguments)["rows"]
        return rows

    def told(self, *arguments: str | Path) -> list[tuple[str, str]]:
        """Return of each row where it goes, and what the rules say."""
        return [
            (f"{row['proto']} {place(row)}", said(row["rules"])) for row in self.rows(*arguments)
        ]


def place(row: JSON) -> str:
    """Return the destination of a row."""
    return f"{row['daddr']} {row['dport']}"


def said(outcome: JSON) -> str:
    """Return action and rule, or reason."""
    return f"{outcome['action']} {outcome['rule'] or outcome['reason']}"


def ethernet(packet: Packet) -> Packet:
    """Return a packet in a frame."""
    kind = 0x86DD if isinstance(packet, IPv6) else 0x0800
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=kind) / packet


def at_s(packet: Packet, seconds: float) -> Packet:
    """Return a packet that is captured so many seconds after the beginning."""
    packet.sent_time = seconds
    return packet


def segment(
    flags: str,
    sport: int = 40_000,
    dport: int = 80,
    daddr: str = SERVER,
    *,
    seq: int = 0,
    data: bytes = b"",
) -> Packet:
    """Return a segment of the client's."""
    header = IP(src=CLIENT, dst=daddr) / TCP(sport=sport, dport=dport, flags=flags, seq=seq)
    return header / Raw(data) if data else header


def answer_to(packet: Packet, flags: str = "SA") -> Packet:
    """Return an answer to a segment."""
    ip, tcp = packet[IP], packet[TCP]
    seq = {"seq": 900, "ack": tcp.seq + 1}
    return IP(src=ip.dst, dst=ip.src) / TCP(sport=tcp.dport, dport=tcp.sport, flags=flags, **seq)


def datagram(dport: int = 9, sport: int = 50_000, daddr: str = SERVER) -> Packet:
    """Return a datagram of the client's."""
    return IP(src=CLIENT, dst=daddr) / UDP(sport=sport, dport=dport) / Raw(b"x")


def question(name: str, sport: int = 50_053) -> Packet:
    """Return a question for the address of a name."""
    asked = DNS(id=7, qd=DNSQR(qname=name))
    return IP(src=CLIENT, dst=RESOLVER) / UDP(sport=sport, dport=53) / asked


def resolution(name: str, address: str, sport: int = 50_053) -> list[Packet]:
    """Return a question, and its answer."""
    found = DNSRR(rrname=name, type="A", ttl=300, rdata=address)
    answered = DNS(id=7, qr=1, qd=DNSQR(qname=name), an=found)
    back = IP(src=RESOLVER, dst=CLIENT) / UDP(sport=53, dport=sport) / answered
    return [question(name, sport), back]


def connection(
    dport: int, daddr: str = SERVER, sport: int = 40_000, data: bytes = b"", pieces: int = 1
) -> list[Packet]:
    """Return a connection of the client's, its first data in pieces."""
    syn = segment("S", sport, dport, daddr)
    packets = [syn, answer_to(syn), segment("A", sport, dport, daddr, seq=1)]
    size = -(-len(data) // pieces)
    for at in range(0, len(data), size or 1):
        part = data[at : at + size]
        packets.append(segment("PA", sport, dport, daddr, seq=1 + at, data=part))
    return [*packets, segment("FA", sport, dport, daddr, seq=1 + len(data))]
