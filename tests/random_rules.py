"""Rules of all kinds and flows that many of them speak of, made by chance from few values.

A seed makes them, not a strategy for each part: so every part comes as often as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, TypeVar

from builders import WALL_NS, instant, process
from nfsnitch.core import conditions as of
from nfsnitch.core.case import Case
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import NO_PORTS, Bypass, Family, Flow, packed_address
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.listing import Entry, ListDefinition, NamedList
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_conditions import HostCondition, HostNames, ListCondition
from nfsnitch.core.opening import Opening, opening_case
from nfsnitch.core.owner import Executable, Forwarded, Kernel, Owner
from nfsnitch.core.pattern import paths, regexes
from nfsnitch.core.ranges import Addresses, AddressRange, PortRange, Ports, addresses, ports
from nfsnitch.core.rule import AtQuestion, Condition, Rule
from nfsnitch.core.schedule import Span, weekly
from nfsnitch.core.timed import DeadlineCondition, ExpiryCondition, ScheduleCondition
from nfsnitch.core.unknown import Unknown

T = TypeVar("T")
MYSTERY = Unknown("not known in this test")
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.1", "192.0.2.9", "2001:db8::1", "::1"]
PORTS = [0, 1, 53, 80, 443, 65_535]
_EXES = ["/a", "/b", "/c/d", "/c/e"]
_NETWORKS = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.1.1", "10.0.0.1", "2001:db8::/32"]
_NETWORKS += ["10.0.0.2", "2001:db8::/48", "2001:db8::1", "::/0", "10.0.0.1-10.0.0.6"]
_NAMES = ["example.org", "a.example.org", "b.a.example.org", "other.test"]
_PENDING = Pending("being read")
_OFTEN = ["exe", "uid", "daddr", "saddr", "dport", "proto", "host"]


class _Listed:
    """A list that is compiled, of a few names and one address."""

    def __init__(self, *listed: str) -> None:
        self._listed = listed
        self.names, self.networks = len(listed), 1

    def has_name(self, name: str) -> bool:
        return self.find_name(name) is not None

    def has_address(self, packed: bytes) -> bool:
        return self.find_address(packed) is not None

    def find_name(self, name: str) -> Entry | None:
        return Entry("l", 1, name) if name in self._listed else None

    def find_address(self, packed: bytes) -> Entry | None:
        is_there = packed == packed_address(ADDRESSES[3])
        return Entry("l", 2, ADDRESSES[3]) if is_there else None


def _list(content: _Listed | None) -> NamedList:
    made = NamedList(ListDefinition("l", "/l"))
    made.content = content
    return made


_LISTS = [_list(None), _list(_Listed("example.org")), _list(_Listed())]


def chance_by(seed: int) -> Random:
    """Return what makes the same of a seed each time."""
    return Random(seed)  # noqa: S311


def some_addresses(chance: Random) -> Addresses:
    """Return one network or a few."""
    return addresses(network(each) for each in _some(chance, _NETWORKS))


def network(text: str) -> AddressRange:
    """Return a network, an address or all from one to another."""
    if "-" in text:
        first, last = map(ip_address, text.split("-"))
    else:
        block = ip_network(text)
        first, last = block[0], block[-1]
    return AddressRange(Family(first.version), int(first), int(last))


def some_ports(chance: Random) -> Ports:
    """Return one port, a range, or a few of these."""
    ends = (sorted(_some(chance, PORTS, 2)) for _ in range(chance.choice((1, 1, 2))))
    return ports(PortRange(each[0], each[-1]) for each in ends)


def rules(chance: Random, most: int) -> tuple[Rule, ...]:
    """Return rules that go by their numbers, all made of some conditions."""
    fields = chance.choices(_OFTEN, k=chance.choice((4, 8, 16)))
    fields += chance.choices(sorted(_CONDITIONS), k=4)
    conditions = [_condition(chance, each) for each in fields]
    return tuple(_rule(chance, f"r{at}", conditions) for at in range(chance.randrange(most)))


def case(chance: Random) -> Case:
    """Return a flow or, sometimes, the opening of a socket."""
    if chance.random() < 0.1:
        return opening_case(Opening(Bypass.PACKET, 3, 0), _owner(chance), instant())
    daddr = packed_address(chance.choice(ADDRESSES))
    saddr = packed_address("10.0.0.1" if len(daddr) == 4 else "::1")
    family = Family.IPV4 if len(daddr) == 4 else Family.IPV6
    dport: int | Unknown = chance.choice([*PORTS, 2])
    if chance.random() < 0.1:
        dport = NO_PORTS
    of_flow = Flow(family, chance.choice((6, 17, 1)), saddr, daddr, 1, dport)
    texts = [] if chance.random() < 0.3 else _some(chance, [*_NAMES, "unheard.of"])
    all_names = tuple(Name(each, NameSource.DNS, own=True, known_ns=0) for each in texts)
    names = Names(all_names, may_come=chance.random() < 0.3)
    return Case(of_flow, _owner(chance), "eth0", instant(), names=names)


def _some(chance: Random, values: Sequence[T], most: int = 3) -> list[T]:
    return chance.sample(values, chance.choice((1, 1, 2, most)))


def _rule(chance: Random, name: str, conditions: Sequence[Condition]) -> Rule:
    count = chance.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))
    unknown = chance.choice((None, Action.DENY, Action.REJECT, Action.ASK))
    dns = chance.choice((None, None, *AtQuestion))
    which = tuple(chance.sample(conditions, min(count, len(conditions))))
    return Rule(name, chance.choice([*Action]), which, "f:1", None, unknown, dns)


def _condition(chance: Random, field: str) -> Condition:
    return _CONDITIONS[field](chance, chance.random() < 0.2)


def _owner(chance: Random) -> Owner:
    others: list[Owner] = [Kernel("k"), Forwarded("f"), MYSTERY]
    if chance.random() < 0.2:
        return chance.choice(others)
    path: str | Unknown = chance.choice([*_EXES, "/other"])
    exe = Executable(MYSTERY if chance.random() < 0.1 else path, 1, 1)
    identity = Identity(
        chance.choice(("00", MYSTERY, _PENDING)),
        chance.choice((True, MYSTERY, _PENDING)),
        chance.choice(("curl", MYSTERY, _PENDING)),
    )
    return replace(process(), exe=exe, uid=chance.choice((0, 1_000, 7)), identity=identity)


_Maker = Callable[[Random, bool], Condition]


def _value(name: str, read: of.Reader[Any], wanted: Callable[[Random], Any]) -> _Maker:
    return lambda chance, negated: of.ValueCondition(name, read, wanted(chance), negated)


def _set(*values: object) -> Callable[[Random], frozenset[object]]:
    return lambda chance: frozenset(_some(chance, values, len(values)))


def _paths(*globs: str) -> Callable[[Random], Any]:
    return lambda chance: paths(_some(chance, globs, len(globs)) if chance.random() < 0.95 else [])


_any_path = _paths(*_EXES[:3], "/c/*", "/**")
_hours = (weekly([Span(0, 7 * 1_440)]), weekly([Span(0, 1)]), weekly([]))

_CONDITIONS: dict[str, _Maker] = {
    "exe": lambda chance, negated: of.ValueCondition(
        "exe", of.read_exe, chance.choice((_any_path, _paths(*_EXES)))(chance), negated
    ),
    "uid": _value("uid", of.read_uid, _set(0, 1_000, 1_001)),
    "user": _value("user", of.read_uid, _set(0, 1_000)),
    "daddr": _value("daddr", of.read_daddr, some_addresses),
    "saddr": _value("saddr", of.read_saddr, some_addresses),
    "dport": _value("dport", of.read_dport, some_ports),
    "sport": _value("sport", of.read_sport, some_ports),
    "proto": _value("proto", of.read_proto, _set(6, 17, Bypass.PACKET)),
    "family": _value("family", of.read_family, _set(*Family)),
    "iface": _value("iface", of.read_iface, _paths("eth0", "wg*")),
    "args": _value("args", of.read_args, lambda chance: regexes(_some(chance, ("http", "^x"), 2))),
    "sha256": _value("sha256", of.read_sha256, _set("00", "11")),
    "changed": _value(
        "changed", of.read_changed, lambda chance: frozenset(_some(chance, (True, False), 2))
    ),
    "package": _value("package", of.read_package, _paths("curl", "none")),
    "script": _value("script", of.read_script, _any_path),
    "unit": lambda chance, negated: of.AnyValueCondition(
        "unit", of.read_units, _any_path(chance), negated
    ),
    "parent": lambda chance, negated: of.ParentCondition("parent", _any_path(chance), negated),
    "owner": lambda chance, negated: of.OwnerCondition(
        "owner", frozenset(_some(chance, [*of.OwnerKind])), negated
    ),
    "enabled": lambda _chance, _negated: of.DisabledCondition("enabled"),
    "process": lambda chance, _: of.OneProcessCondition(
        "pid", chance.choice((4_711, 1)), 5 * 10**9
    ),
    "schedule": lambda chance, negated: ScheduleCondition(
        "schedule", chance.choice(_hours), negated
    ),
    "expires": lambda chance, _: ExpiryCondition("expires", WALL_NS + chance.choice((0, 1))),
    "deadline": lambda chance, _: DeadlineCondition("expires", 10**9 + chance.choice((0, 1))),
    "host": lambda chance, negated: HostCondition(
        "host",
        HostNames(frozenset(_some(chance, _NAMES)), frozenset(_some(chance, [*_NAMES, "org"])[1:])),
        negated,
    ),
    "list": lambda chance, negated: ListCondition("list", tuple(_some(chance, _LISTS, 2)), negated),
}
