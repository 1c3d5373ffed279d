"""Programs that ask for names, servers that answer, and forgers, as the kernel would show them."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import dnslib

from builders import process
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Protocol
from nfsnitch.core.name import Names
from nfsnitch.core.name_sample import Direction, DnsPacket, LibcAnswer
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.settings import Limits, NameSettings, Settings
from nfsnitch.core.unknown import Unknown
from nfsnitch.naming.names import HostNames

SECOND_NS = 1_000_000_000
HOME = 4_026_531_840
"""The network namespace of the daemon, and of `builders.process`."""
RESOLVER = "192.0.2.53"


def packed(address: str) -> bytes:
    return ip_address(address).packed


def user_process(pid: int = 100, uid: int = 1_000, netns: int | Unknown = HOME) -> Process:
    return replace(process(pid=pid), uid=uid, netns=netns)


def question(name: str, qtype: str = "A", message_id: int = 7) -> dnslib.DNSRecord:
    record = dnslib.DNSRecord.question(name, qtype)
    record.header.id = message_id
    return record


def answer(asked: dnslib.DNSRecord, *zone: str) -> bytes:
    reply = asked.reply()
    for record in zone:
        reply.add_answer(*dnslib.RR.fromZone(record))
    return bytes(reply.pack())


def sent(payload: bytes, cookie: int = 1, at_s: float = 0) -> DnsPacket:
    """Return a datagram to the name server."""
    return DnsPacket(
        Direction.SENT,
        cookie,
        1,
        Protocol.UDP,
        packed("192.0.2.2"),
        40_000,
        packed(RESOLVER),
        payload,
        is_cut=False,
        seen_ns=int(at_s * SECOND_NS),
    )


def received(payload: bytes, cookie: int = 1, at_s: float = 0) -> DnsPacket:
    """Return a datagram from the name server."""
    return sent(payload, cookie, at_s)._replace(direction=Direction.RECEIVED)


class NamePlay:
    """The names of one machine; each process has a socket with its pid for a cookie."""

    def __init__(self, limits: Limits | None = None, keep_s: int = 3_600) -> None:
        self.settings = Settings(
            limits=limits or Limits(), names=NameSettings(keep_ns=keep_s * SECOND_NS)
        )
        self.counters = collections.Counter[Counter]()
        self.owners: dict[int, Owner] = {}
        self.names = HostNames(self.owner_of, HOME, self.settings, self.counters)

    def owner_of(self, cookie: int) -> Owner:
        return self.owners.get(cookie, Unknown("there is no such socket"))

    def resolves(
        self,
        who: Process,
        name: str,
        *addresses: str,
        at_s: float = 0,
        ttl_s: int = 300,
        aliases: Iterable[str] = (),
    ) -> None:
        """Let a process ask a DNS server, and have it answer."""
        self.owners[who.pid] = who
        asked = question(name)
        chain = [name, *aliases]
        zone = [f"{a} {ttl_s} CNAME {b}" for a, b in itertools.pairwise(chain)]
        zone += [f"{chain[-1]} {ttl_s} A {address}" for address in addresses]
        self.names.take(sent(bytes(asked.pack()), who.pid, at_s))
        self.names.take(received(answer(asked, *zone), who.pid, at_s))

    def is_told(self, who: Owner, name: str, *addresses: str, at_s: float = 0) -> None:
        """Let the C library answer a program."""
        each = tuple(map(packed, addresses))
        self.names.take(LibcAnswer(who, name, each, int(at_s * SECOND_NS)))

    def names_of(self, who: Owner, address: str, at_s: float = 0) -> Names:
        return self.names.names_of(who, packed(address), int(at_s * SECOND_NS))

    def texts(self, who: Owner, address: str, at_s: float = 0) -> list[str]:
        return [name.text for name in self.names_of(who, address, at_s).names]
