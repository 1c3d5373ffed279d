"""What OpenSnitch would do: a small model of its matching, written from what its source says.

Of a rule: a simple comparison and a regular expression do not tell capitals from small letters
unless the condition is sensitive; expressions match anywhere in the text; a list matches if all in
it do. Of all rules: in the order of their names the first that matches and denies, rejects or has
precedence; else the last one that matches; else nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import re2

from builders import executable, instant, process
from nfsnitch.core.case import Case
from nfsnitch.core.flow import Family, Flow, Protocol, packed_address
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import Ancestor
from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Connection:
    """A connection as both firewalls see it."""

    path: str = "/usr/bin/curl"
    args: str = "curl https://a.example"
    parents: tuple[str, ...] = ("/usr/bin/bash",)
    uid: int = 1_000
    host: str = ""
    saddr: str = "192.0.2.2"
    daddr: str = "198.51.100.7"
    sport: int = 40_000
    dport: int = 443
    proto: Protocol = Protocol.TCP
    iface: str = "eth0"

    @property
    def protocol(self) -> str:
        """OpenSnitch's word for the protocol."""
        if self.proto in {Protocol.ICMP, Protocol.ICMPV6}:
            return "icmp" if self.proto is Protocol.ICMP else "icmp6"
        return self.proto.name.lower() + ("6" if ":" in self.daddr else "")

    def case(self) -> Case:
        """Return it as our rules are asked about it."""
        has_ports = self.proto not in {Protocol.ICMP, Protocol.ICMPV6}
        ports = (self.sport, self.dport) if has_ports else (Unknown("none"), Unknown("none"))
        family = Family.IPV6 if ":" in self.daddr else Family.IPV4
        source, there = packed_address(self.saddr), packed_address(self.daddr)
        flow = Flow(family, self.proto, source, there, *ports)
        parents = tuple(
            Ancestor(4_000 - at, 1, executable(path)) for at, path in enumerate(self.parents)
        )
        owner = process(self.path)
        fields = {name: getattr(owner, name) for name in owner.__slots__}
        fields |= {"args": tuple(self.args.split(" ")), "parents": parents, "uid": self.uid}
        name = (Name(self.host, NameSource.DNS, own=True, known_ns=1),) if self.host else ()
        return Case(flow, type(owner)(**fields), self.iface, instant(), names=Names(name))


def decide(rules: Iterable[Document], connection: Connection) -> str | None:
    """Return the action of the rule that decides; None: none matches."""
    found: str | None = None
    by_name = {rule["name"]: rule for rule in rules}
    for name in sorted(by_name, key=encoded):
        rule = by_name[name]
        if not rule.get("enabled") or not matches(rule["operator"], connection):
            continue
        found = rule["action"]
        if found != "allow" or rule.get("precedence"):
            break
    return found


def matches(operator: Document, connection: Connection) -> bool:
    """Whether an operator of a rule matches."""
    operand = operator["operand"]
    if operator["type"] == "list":
        return all(matches(each, connection) for each in operator["list"])
    if operand == "true":
        return True
    if operand == "process.parent.path":
        return any(_compare(operator, path) for path in connection.parents)
    return _compare(operator, _value(operand, connection))


def _value(operand: str, connection: Connection) -> str:
    has_ports = connection.proto not in {Protocol.ICMP, Protocol.ICMPV6}
    values = {
        "process.path": connection.path,
        "process.command": connection.args,
        "user.id": str(connection.uid),
        "dest.host": connection.host,
        "dest.ip": connection.daddr,
        "dest.network": connection.daddr,
        "dest.port": str(connection.dport if has_ports else 0),
        "source.ip": connection.saddr,
        "source.network": connection.saddr,
        "source.port": str(connection.sport if has_ports else 0),
        "protocol": connection.protocol,
        "iface.out": connection.iface,
    }
    return values[operand]


def _compare(operator: Document, value: str) -> bool:
    data, kind = operator["data"], operator["type"]
    if kind == "network":
        return ip_address(value) in ip_network(data, strict=False)
    if kind == "range":
        first, last = data.split("-")
        return int(first) <= int(value) <= int(last)
    if not operator.get("sensitive"):
        data, value = data.lower(), value.lower()
    if kind == "regexp":
        return re2.compile(data).search(value.encode()) is not None
    return bool(data == value)
