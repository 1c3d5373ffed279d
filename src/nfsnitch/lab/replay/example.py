"""Writes what docs/replay.md replays: a capture, recorded decisions, and rules.

usage: python -m nfsnitch.lab.replay.example DIRECTORY
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import Family, Flow, Protocol, packed_address
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import Ancestor, Attribution, Executable, Process
from nfsnitch.core.record import Record

RULES = """\
default: ask
unattributed: ask
rules:
  - {name: names, action: allow, proto: udp, dport: domain}
  - {name: updates, action: allow, exe: /usr/lib/apt/methods/http, host: "*.example"}
  - {name: web, action: allow, proto: tcp, dport: [http, https]}
  - {name: no telnet, action: reject, dport: telnet}
"""
STRICTER = """\
default: ask
unattributed: ask
rules:
  - {name: names, action: allow, proto: udp, dport: domain}
  - {name: no trackers, action: deny, host: "*.tracker.example", on_unknown_name: skip}
  - {name: updates, action: allow, exe: /usr/lib/apt/methods/http, host: "*.example"}
  - {name: browser, action: allow, exe: /usr/bin/firefox, dport: [http, https]}
  - {name: plain web, action: reject, proto: tcp, dport: http}
  - {name: secure web, action: allow, proto: tcp, dport: https}
"""
_CLIENT, _SERVER, _TRACKER = "192.0.2.2", "198.51.100.2", "203.0.113.1"
_RESOLVER, _CLIENT_6, _SERVER_6 = "192.0.2.53", "2001:db8::2", "2001:db8:1::2"
_START_S = 1_800_000_000
_NS_PER_S = 1_000_000_000


def write(folder: Path) -> None:
    """Write all files into a directory; those that are there are overwritten."""
    (folder / "rules.yaml").write_text(RULES)
    (folder / "stricter.yaml").write_text(STRICTER)
    packets = list(_packets())
    for at, packet in enumerate(packets):
        packet.time = _START_S + at * 0.25
    wrpcap(str(folder / "office.pcap"), packets)
    lines = (f"{each.as_line()}\n" for each in _records())
    (folder / "decisions.jsonl").write_text("".join(lines))


def _packets() -> Iterator[Packet]:
    yield from map(_framed, _resolution("shop.example", _SERVER))
    yield from map(_framed, _connection(40_022, 80, _SERVER))
    yield from map(_framed, _connection(40_020, 443, _TRACKER, _hello("ads.tracker.example")))
    yield from map(_framed, _connection(40_003, 443, _SERVER, _hello("shop.example")))
    yield from map(_framed, _connection(40_004, 23, _SERVER))
    for seq in range(3):
        yield _framed(IP(src=_CLIENT, dst=_SERVER) / ICMP(id=7, seq=seq))
        yield _framed(IP(src=_SERVER, dst=_CLIENT) / ICMP(type=0, id=7, seq=seq))
    syn = TCP(sport=40_005, dport=22, flags="S")
    yield _framed(IPv6(src=_CLIENT_6, dst=_SERVER_6) / syn)


def _framed(packet: Packet) -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet


def _resolution(name: str, address: str) -> Iterator[Packet]:
    question = DNSQR(qname=name)
    found = DNSRR(rrname=name, type="A", ttl=300, rdata=address)
    yield IP(src=_CLIENT, dst=_RESOLVER) / UDP(sport=40_000, dport=53) / DNS(id=7, qd=question)
    answer = DNS(id=7, qr=1, qd=question, an=found)
    yield IP(src=_RESOLVER, dst=_CLIENT) / UDP(sport=53, dport=40_000) / answer


def _connection(sport: int, dport: int, daddr: str, data: bytes = b"") -> Iterator[Packet]:
    there, back = IP(src=_CLIENT, dst=daddr), IP(src=daddr, dst=_CLIENT)
    yield there / TCP(sport=sport, dport=dport, flags="S", seq=100)
    yield there / TCP(sport=sport, dport=dport, flags="S", seq=100)  # once more
    yield back / TCP(sport=dport, dport=sport, flags="SA", seq=500, ack=101)
    first = data or b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    yield there / TCP(sport=sport, dport=dport, flags="PA", seq=101, ack=501) / Raw(first)


def _hello(name: str) -> bytes:
    """Return the first data of a TLS connection, as OpenSSL sends it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def _records() -> Iterator[Record]:
    firefox = _process(2_001, "/usr/bin/firefox")
    updater = _process(2_002, "/usr/lib/apt/methods/http")
    curl = _process(2_003, "/usr/bin/curl")
    web = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
    for number in range(12):
        yield _record(number, firefox, 443, "shop.example", web)
    yield _record(20, firefox, 443, "ads.tracker.example", web)
    yield _record(21, updater, 80, "deb.example", replace(web, rule="updates"))
    yield _record(22, curl, 80, "shop.example", web)


def _process(pid: int, path: str) -> Process:
    shell = Ancestor(1, 0, Executable("/usr/lib/systemd/systemd", 1, 2))
    exe, name = Executable(path, 65_024, pid), path.rpartition("/")[2]
    who = (pid, pid, pid * _NS_PER_S, 1_000, 1_000, exe, (name,), name[:15], (shell,))
    return Process(*who, cgroup_id=1, cgroup="/user.slice", netns=4_026_531_840)


def _record(number: int, owner: Process, dport: int, host: str, decision: Decision) -> Record:
    now_ns = (_START_S + number) * _NS_PER_S
    server = packed_address(_TRACKER if "tracker" in host else _SERVER)
    ports = (40_000 + number, dport)
    flow = Flow(Family.IPV4, Protocol.TCP, packed_address(_CLIENT), server, *ports)
    known = Name(host, NameSource.DNS, own=True, known_ns=now_ns - _NS_PER_S, ttl_s=300)
    who = (owner, Attribution.FLOW_MAP, 4_026_531_840, "eth0")
    return Record(now_ns, decision, 0, 1, flow, *who, names=Names((known,)), monotonic_ns=now_ns)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
