"""The services that the hosts of a scenario's network offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nfsnitch.lab.process import Child
from nfsnitch.lab.scenario.model import Network
from nfsnitch.lab.scenario.network import addresses, interfaces
from nfsnitch.lab.services import (
    HTTP_PORT,
    Services,
    echo_options,
    spawn_dns,
    spawn_echo,
    wait_for_dns,
    wait_for_echo,
)
from nfsnitch.lab.world import World

DNS_NAMES: Mapping[str, tuple[str, ...]] = {
    "example.test": ("198.51.100.2", "2001:db8:1::2"),
    "other.test": ("203.0.113.1",),
    "tracker.example": ("198.51.100.2",),
}
"""What DNS answers, for names below those as well; it knows nothing else and asks nobody."""


@dataclass(frozen=True, slots=True)
class Served:
    """What runs on one host."""

    services: Services | None
    """Echo and HTTP, with a line for each connection and datagram; None: neither is wanted."""
    dns: Child | None

    @property
    def children(self) -> list[Child]:
        """Return the processes."""
        echoes = [] if self.services is None else [self.services.echo]
        return echoes if self.dns is None else [*echoes, self.dns]


def serve(world: World, network: Network) -> dict[str, Served]:
    """Start the services of all hosts, and return them by host once all of them serve.

    Each listens at each of its host's addresses by itself, so that answers come from the address
    that was asked.

    Raises:
        LabError: one does not start, or not in time.

    """
    echoes, servers = {}, {}
    for host in network.hosts:
        if options := _options(host.services):
            at = [word for each in addresses(network, host.name) for word in ("--at", each)]
            echoes[host.name] = spawn_echo(world, host.name, (*options, *at))
        if "dns" in host.services:
            having = interfaces(network, host.name)
            servers[host.name] = spawn_dns(world, host.name, having, DNS_NAMES)
    for echo in echoes.values():
        wait_for_echo(echo)
    for dns in servers.values():
        wait_for_dns(dns)
    services = {name: Services(echo) for name, echo in echoes.items()}
    return {
        host.name: Served(services.get(host.name), servers.get(host.name))
        for host in network.hosts
        if host.services
    }


def _options(services: tuple[str, ...]) -> tuple[str, ...]:
    """Return what echo.py is to serve of those."""
    echo = echo_options() if "echo" in services else ()
    http = ("--http", str(HTTP_PORT)) if "http" in services else ()
    return (*echo, *http)
