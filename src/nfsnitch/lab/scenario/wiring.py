"""What follows from a network before it is built: ends of wires, their numbers, the needs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from nfsnitch.lab.scenario.model import Network, Wire
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT

FIRST_INDEX = 11
"""Ends are numbered from here on, each differently: were both ends of a wire number 2, as they are
when left alone, the kernel would take them for devices without a peer, whose link changes may wait
for up to a second."""
_VLAN_INDEXES = 100
"""Added to the number of the end that a VLAN's interface is on."""
MARKER_ADDRESS = "169.254.88.181"
"""What a client's interface without an IPv4 address gets, with the scope of the host: captures make
sure by ARP that nothing is under way (see markers.py), and no packet is ever sent from it."""
_LEAST_MTU_OF_IPV6 = 1280


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire."""

    host: str
    name: str
    """As the host calls the veth device."""
    wire: Wire
    index: int
    """Its interface number, different for all ends of a network."""
    peer_index: int
    addresses: tuple[str, ...]
    """In CIDR notation: those that the kernel takes there."""

    @property
    def mac(self) -> str:
        """Return its hardware address."""
        return mac_of(self.index)

    @property
    def peer_mac(self) -> str:
        """Return the hardware address at the other end."""
        return mac_of(self.peer_index)

    @property
    def carrier(self) -> str:
        """Return the interface that has the addresses: the VLAN's where there is one."""
        return self.name if self.wire.vlan is None else f"{self.name}.{self.wire.vlan}"

    @property
    def carrier_index(self) -> int:
        """Return that interface's number."""
        return self.index if self.wire.vlan is None else self.index + _VLAN_INDEXES

    @property
    def answers_at(self) -> str:
        """Return an IPv4 address that it has, if need be `MARKER_ADDRESS`."""
        plain = (address.partition("/")[0] for address in self.addresses if "." in address)
        return next(plain, MARKER_ADDRESS)


def mac_of(index: int) -> str:
    """Return the hardware address of the end with that number."""
    return f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}"


def ends(network: Network) -> list[End]:
    """Return all ends, the two of each wire one after the other."""
    found = []
    for number, wire in enumerate(network.wires):
        first = FIRST_INDEX + 2 * number
        for side, interface in enumerate(wire.ends):
            index, peer_index = first + side, first + 1 - side
            addresses = tuple(a for a in interface.addresses if _is_taken(a, wire.mtu))
            found.append(End(interface.host, interface.name, wire, index, peer_index, addresses))
    return found


def ends_of(network: Network, host: str) -> list[End]:
    """Return the ends that *host* has, in the order of the wires."""
    return [end for end in ends(network) if end.host == host]


def end_at(network: Network, host: str, interface: str | None = None) -> End:
    """Return an end of *host* by its interface (with or without the VLAN's id); None: the first.

    Raises:
        LabError: there is none of that name.

    """
    having = ends_of(network, host)
    for end in having:
        if interface in (None, end.name, end.carrier):
            return end
    known = ", ".join(end.carrier for end in having) or "none"
    raise LabError(f"{host} has no interface {interface or 'at all'}; it has: {known}")


def peer_of(network: Network, end: End) -> End:
    """Return the other end of its wire."""
    return next(each for each in ends(network) if each.index == end.peer_index)


def plain_addresses(found: Iterable[End]) -> list[str]:
    """Return the addresses of those ends without prefix lengths, link-local ones ``ADDR%DEV``."""
    pairs = [(end, text.partition("/")[0]) for end in found for text in end.addresses]
    return [
        f"{address}%{end.carrier}" if is_link_local(address) else address for end, address in pairs
    ]


def is_link_local(address: str) -> bool:
    """Tell whether it takes an interface to know where that IPv6 address is."""
    parsed = ipaddress.ip_address(address)
    return isinstance(parsed, ipaddress.IPv6Address) and parsed.is_link_local


def by_distance(network: Network) -> list[tuple[End, End]]:
    """Return the wires, those next to the client first: each as its nearer and its farther end."""
    left = [(near, far) for near, far in zip(*[iter(ends(network))] * 2, strict=True)]
    reached, found = {CLIENT}, []
    while left:
        step = [pair for pair in left if reached & {pair[0].host, pair[1].host}] or left
        for near, far in step:
            found.append((near, far) if near.host in reached else (far, near))
        reached |= {end.host for pair in step for end in pair}
        left = [pair for pair in left if pair not in step]
    return found


def needs_of(network: Network) -> tuple[str, ...]:
    """Return what *network* needs of the kernel, of `model.NEEDS`."""
    bad = any(wire.delay_ns or wire.loss for wire in network.wires)
    tagged = any(wire.vlan is not None for wire in network.wires)
    masks = any(host.masquerades for host in network.hosts)
    wanted = {"netem": bad, "vlan": tagged, "masquerade": masks}
    return tuple(need for need, is_wanted in wanted.items() if is_wanted)


def _is_taken(address: str, mtu: int) -> bool:
    """Tell whether the kernel takes it: of IPv6 it has none where packets are too small for it."""
    return ":" not in address or mtu >= _LEAST_MTU_OF_IPV6
