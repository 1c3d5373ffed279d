"""Which addresses of a capture are those of the machine whose flows are decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from nfsnitch.core.flow import Flow
from nfsnitch.core.packet import Malformed, parse
from nfsnitch.lab.replay.capture_files import frames
from nfsnitch.lab.replay.moments import Moments
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.tracking import Tracker

Network = IPv4Network | IPv6Network

_MOST_SENDERS = 65_536
_MOST_CACHED = 65_536


class Clients:
    """The addresses of this machine."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.networks = tuple(networks)
        self._cached: dict[bytes, bool] = {}

    def has(self, address: bytes) -> bool:
        """Whether a packed address is one of them."""
        known = self._cached.get(address)
        if known is None:
            plain = ip_address(address)
            # Those of loopback are on no wire: where one is seen, it is the machine's own.
            known = plain.is_loopback or any(plain in each for each in self.networks)
            if len(self._cached) < _MOST_CACHED:
                self._cached[address] = known
        return known

    def __str__(self) -> str:
        """Return them as people write them."""
        return ", ".join(map(_network_text, self.networks)) or "none"


def guessed(paths: Sequence[Path]) -> Clients:
    """Return the senders of most first packets, of each family one; reads the captures once.

    Raises:
        BadInputError: one of them cannot be read.

    """
    notes, moments = Notes(), Moments()
    tracker = Tracker(lambda _address: True, notes)
    senders = Counter[bytes]()
    for path in paths:
        for frame in frames(path, notes):
            flow = parse(frame.packet)
            if isinstance(flow, Malformed) or frame.is_outgoing is False:
                continue
            sight = tracker.take(frame.packet, flow, moments.monotonic_ns(frame.wall_ns))
            if sight is None or not sight.is_first or not _is_somebodys(flow):
                continue
            if flow.saddr in senders or len(senders) < _MOST_SENDERS:
                senders[flow.saddr] += 1
    return Clients(_first_of_each_family(senders))


def _first_of_each_family(senders: Counter[bytes]) -> list[Network]:
    found: dict[int, Network] = {}
    for address, _ in senders.most_common():
        found.setdefault(len(address), ip_network(address))
    return list(found.values())


def _is_somebodys(flow: Flow) -> bool:
    address: IPv4Address | IPv6Address = ip_address(flow.saddr)
    return not (address.is_unspecified or address.is_multicast or address.is_loopback)


def _network_text(network: Network) -> str:
    is_one = network.num_addresses == 1
    return str(network.network_address) if is_one else str(network)
