"""The network of a scenario: the standard one, changed by the names of its hosts and wires."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from nfsnitch.adapters.rulefile.document import Node
from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import SERVICES, Host, Interface, Network, Route, Wire
from nfsnitch.lab.scenario.reading_nodes import Nodes
from nfsnitch.lab.scenario.standard import STANDARD

MOST_HOSTS = 16

_ENDS = 2
_NAME = re.compile(r"[a-z][a-z0-9]{0,9}", re.ASCII)
_INTERFACE = re.compile(r"[a-z][a-z0-9]{0,9}", re.ASCII)
_SYSCTL = re.compile(r"net(?:[./][A-Za-z0-9_-]{1,40}){1,6}", re.ASCII)
_SYSCTL_VALUE = re.compile(r"[0-9A-Za-z_,. \t-]{1,100}", re.ASCII)
_HOST_KEYS = ("addresses", "routes", "sysctls", "forwards", "masquerades", "services")
_WIRE_KEYS = ("ends", "mtu", "delay", "loss", "vlan")
_AN_END = "write as in {client: {eth1: [10.9.0.2/24]}, server: {eth1: [10.9.0.1/24]}}"


@dataclass(slots=True)
class _Draft:
    """The network so far."""

    hosts: dict[str, Host]
    wires: dict[str, Wire]
    at: dict[str, Node] = field(default_factory=dict)
    """Where the file speaks of a host."""


def read_network(node: Node | None, nodes: Nodes) -> Network:
    """Return the standard network with the changes that *node* says."""
    draft = _Draft(
        {host.name: host for host in STANDARD.hosts}, {wire.name: wire for wire in STANDARD.wires}
    )
    parts = {} if node is None else nodes.fields(node, "network", ("wires", "hosts")) or {}
    hosts = {}
    if "hosts" in parts:
        hosts = nodes.named(parts["hosts"], "host", _host_name, "hosts: {other: {services: []}}")
        draft.hosts |= {name: Host(name) for name in hosts if name not in draft.hosts}
        draft.at |= hosts
    if "wires" in parts:
        wires = nodes.named(parts["wires"], "wire", _wire_name, "wires: {access: {mtu: 1280}}")
        for name, each in wires.items():
            _read_wire(name, each, draft, nodes)
    for name, each in hosts.items():
        _read_host(name, each, draft, nodes)
    _check(parts, draft, nodes)
    return Network(tuple(draft.hosts.values()), tuple(draft.wires.values()))


def interfaces(network: Network) -> dict[str, tuple[str, ...]]:
    """Return of each host the names of its interfaces; one on a VLAN has two."""
    found: dict[str, tuple[str, ...]] = {host.name: () for host in network.hosts}
    for wire in network.wires:
        for end in wire.ends:
            on_vlan = () if wire.vlan is None else (f"{end.name}.{wire.vlan}",)
            found[end.host] = (*found.get(end.host, ()), end.name, *on_vlan)
    return found


def _read_wire(name: str, node: Node, draft: _Draft, nodes: Nodes) -> None:
    what = f"wire {quoted(name)}"
    known = name in draft.wires
    read = nodes.fields(node, what, _WIRE_KEYS, () if known else ("ends",))
    if read is None:
        return
    ends = _ends(read["ends"], what, draft, nodes) if "ends" in read else None
    if ends is None and not known:
        return
    wire = draft.wires[name] if ends is None else Wire(name, ends)
    if known:
        wire = replace(draft.wires[name], ends=wire.ends)
    draft.wires[name] = replace(
        wire,
        mtu=nodes.value(read.get("mtu"), "mtu", values.whole(68, 65535), wire.mtu),
        delay_ns=nodes.value(read.get("delay"), "delay", values.duration_ns, wire.delay_ns),
        loss=nodes.value(read.get("loss"), "loss", values.per_cent, wire.loss),
        vlan=nodes.value(read.get("vlan"), "vlan", values.whole(1, 4094), wire.vlan),
    )


def _ends(node: Node, what: str, draft: _Draft, nodes: Nodes) -> tuple[Interface, Interface] | None:
    ends = []
    pairs = nodes.pairs(node, f"ends of {what}", _AN_END)
    if pairs is None:
        return None
    for key, interface in pairs.items():
        is_host = values.known("host", draft.hosts)
        host = nodes.parsed(key.scalar, f"host {quoted(key.text)}", is_host, None)
        found = _addresses(interface, nodes)
        if len(found) != 1:
            refused = Refused("a wire ends at one interface of a host", _AN_END)
            nodes.refuse(interface, f"end of {what}", refused)
        elif host is not None:
            [(name, addresses)] = found.items()
            ends.append(Interface(host, name, addresses))
    if len(pairs) != _ENDS:
        nodes.refuse(node, f"ends of {what}", Refused("a wire has two ends", _AN_END))
    return (ends[0], ends[1]) if len(ends) == _ENDS else None


def _addresses(node: Node, nodes: Nodes) -> dict[str, tuple[str, ...]]:
    example = "{eth0: [192.0.2.9/24]}"
    return {
        name: nodes.values(each, f"addresses of {name}", values.interface_address)
        for name, each in nodes.named(node, "interface", _interface_name, example).items()
    }


def _read_host(name: str, node: Node, draft: _Draft, nodes: Nodes) -> None:
    read = nodes.fields(node, f"host {quoted(name)}", _HOST_KEYS)
    if read is None:
        return
    host = draft.hosts[name]
    service = values.known("service", SERVICES)
    services = nodes.values(read.get("services"), "service", service)
    draft.hosts[name] = replace(
        host,
        routes=_routes(read.get("routes"), host.routes, nodes),
        forwards=nodes.value(read.get("forwards"), "forwards", values.switch, host.forwards),
        masquerades=nodes.value(
            read.get("masquerades"), "masquerades", values.not_empty, host.masquerades
        ),
        services=tuple(dict.fromkeys(services)) if "services" in read else host.services,
        sysctls=_sysctls(read.get("sysctls"), host.sysctls, nodes),
    )
    if "addresses" in read:
        _readdress(name, read["addresses"], draft, nodes)


def _readdress(host: str, node: Node, draft: _Draft, nodes: Nodes) -> None:
    """Give interfaces of a host other addresses than they have."""
    for name, addresses in _addresses(node, nodes).items():
        found = False
        for wire in draft.wires.values():
            ends = wire.ends
            changed = [
                replace(end, addresses=addresses) if (end.host, end.name) == (host, name) else end
                for end in ends
            ]
            found = found or any((end.host, end.name) == (host, name) for end in ends)
            draft.wires[wire.name] = replace(wire, ends=(changed[0], changed[1]))
        if not found:
            refused = Refused("no wire ends there", "write the name of an interface that it has")
            nodes.refuse(node, f"interface {quoted(name)} of {host}", refused)


def _routes(node: Node | None, before: tuple[Route, ...], nodes: Nodes) -> tuple[Route, ...]:
    """Return the routes with those of the file; one to the same place takes the other's place."""
    routes = {_way(route): route for route in before}
    for each in nodes.items(node, "routes"):
        read = nodes.fields(each, "route", ("to", "via"), ("to", "via")) or {}
        to = nodes.value(read.get("to"), "to", values.destination, None)
        via = nodes.value(read.get("via"), "via", values.address, None)
        if to is None or via is None:
            continue
        if to != "default" and (":" in to) != (":" in via):
            refused = Refused("its gateway is of the other family", "write both as IPv4 or IPv6")
            nodes.refuse(each, f"route to {to}", refused)
        route = Route(to, via)
        routes[_way(route)] = route
    return tuple(routes.values())


def _way(route: Route) -> tuple[str, int]:
    return route.to, ip_address(route.via).version


def _sysctls(node: Node | None, before: Mapping[str, str], nodes: Nodes) -> Mapping[str, str]:
    if node is None:
        return before
    example = "sysctls: {net.ipv4.ip_default_ttl: 3}"
    read = nodes.named(node, "sysctl", _sysctl, example)
    return dict(before) | {
        name: nodes.value(each, name, _sysctl_value, "") for name, each in read.items()
    }


def _check(parts: Mapping[str, Node], draft: _Draft, nodes: Nodes) -> None:
    """Note what does not fit together."""
    taken: dict[tuple[str, str], str] = {}
    for wire in draft.wires.values():
        for end in wire.ends:
            other = taken.setdefault((end.host, end.name), wire.name)
            if other != wire.name or wire.ends[0].host == wire.ends[1].host:
                why = f"wire {quoted(other)} ends there already"
                refused = Refused(why, "write another interface")
                nodes.refuse(parts["wires"], f"{end.name} of {end.host}", refused)
    of_hosts = interfaces(Network(tuple(draft.hosts.values()), tuple(draft.wires.values())))
    if len(draft.hosts) > MOST_HOSTS:
        refused = Refused(f"it has more than {MOST_HOSTS} hosts", "write fewer")
        nodes.refuse(parts["hosts"], "network", refused)
    for name, node in draft.at.items():
        if not of_hosts[name]:
            refused = Refused("no wire ends there", "write a wire with an end at it")
            nodes.refuse(node, f"host {quoted(name)}", refused)
        out = draft.hosts[name].masquerades
        if out is not None and out not in of_hosts[name]:
            refused = Refused(
                f"{name} has no such interface", f"write one of {', '.join(of_hosts[name])}"
            )
            nodes.refuse(node, f"masquerades {quoted(out)}", refused)


def _matching(pattern: re.Pattern[str], why: str, instead: str) -> values.Parser:
    def parse(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise Refused(why, instead)
        return text

    return parse


_SHORT: Final = "it has up to 10 small letters and digits, and begins with a letter"
_host_name = _matching(_NAME, _SHORT, "write as in other")
_wire_name = _matching(_NAME, _SHORT, "write as in side")
_interface_name = _matching(_INTERFACE, _SHORT, "write as in eth1")
_sysctl = _matching(
    _SYSCTL, "only those of the network are a host's own", "write as in net.ipv4.ip_default_ttl"
)
_sysctl_value = _matching(_SYSCTL_VALUE, "it is a number, or several", "write as in 40000 40001")
