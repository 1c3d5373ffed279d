"""The network that scenarios have unless they say otherwise.

Client, router and server in a row; the server has a second address, which the router has a route
to. Scenarios change it by the names of its hosts and wires.
"""

from __future__ import annotations

from typing import Final

from nfsnitch.lab.scenario.model import Host, Interface, Network, Route, Wire

CLIENT: Final = "client"
"""The host that has the firewall in it, in any network."""
ROUTER: Final = "router"
SERVER: Final = "server"
ACCESS: Final = "access"
"""The wire between client and router."""
BACKBONE: Final = "backbone"
"""The wire between router and server."""
SERVER_IPV4: Final = "198.51.100.2"
SERVER_IPV6: Final = "2001:db8:1::2"
SECOND_IPV4: Final = "203.0.113.1"
"""The server's other address."""
DNS_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "example.test": (SERVER_IPV4, SERVER_IPV6),
    "other.test": (SECOND_IPV4,),
    "tracker.example": (SERVER_IPV4,),
}
"""Names and their addresses, as the service ``dns`` of any host has them."""

STANDARD: Final = Network(
    hosts=(
        Host(
            CLIENT,
            routes=(Route("default", "192.0.2.1"), Route("default", "2001:db8::1")),
        ),
        Host(ROUTER, routes=(Route("203.0.113.1/32", SERVER_IPV4),), forwards=True),
        Host(
            SERVER,
            routes=(Route("default", "198.51.100.1"), Route("default", "2001:db8:1::1")),
            services=("echo", "http", "dns"),
        ),
    ),
    wires=(
        Wire(
            ACCESS,
            (
                Interface(CLIENT, "eth0", ("192.0.2.2/24", "2001:db8::2/64", "fe80::2/64")),
                Interface(ROUTER, "eth0", ("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")),
            ),
        ),
        Wire(
            BACKBONE,
            (
                Interface(ROUTER, "eth1", ("198.51.100.1/24", "2001:db8:1::1/64", "fe80::1/64")),
                Interface(
                    SERVER,
                    "eth0",
                    ("198.51.100.2/24", "203.0.113.1/32", "2001:db8:1::2/64", "fe80::2/64"),
                ),
            ),
        ),
    ),
)
