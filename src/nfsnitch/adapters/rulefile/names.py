"""The machine's own names: users and services."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Callable
from dataclasses import dataclass

_PROTOCOLS_WITH_SERVICES = ("tcp", "udp", "sctp", "udplite")
_COMMON_SERVICES = {
    "domain": 53,
    "http": 80,
    "https": 443,
    "imap": 143,
    "imaps": 993,
    "ntp": 123,
    "smtp": 25,
    "ssh": 22,
    "submission": 587,
    "telnet": 23,
}
"""For machines without /etc/services (IANA service names)."""


@dataclass(frozen=True, slots=True)
class Names:
    """Looks names up: the system's, or what a test gives."""

    uid_of: Callable[[str], int | None]
    """Returns the uid of a user; None if there is no such user."""
    ports_of: Callable[[str], frozenset[int]]
    """Returns the ports of a service in all protocols; none if there is no such service."""


def system_names() -> Names:
    """Return the names of this machine (`getpwnam(3)`, `getservbyname(3)`)."""
    return Names(_uid_of, _ports_of)


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # ValueError: no name can have such characters
        return None


def _ports_of(service: str) -> frozenset[int]:
    ports = {_port_of(service, protocol) for protocol in _PROTOCOLS_WITH_SERVICES} - {None}
    if not ports:
        ports = {_COMMON_SERVICES.get(service)} - {None}
    return frozenset(port for port in ports if port is not None)


def _port_of(service: str, protocol: str) -> int | None:
    try:
        return socket.getservbyname(service, protocol)
    except (OSError, ValueError):  # ValueError: no name can have such characters
        return None
