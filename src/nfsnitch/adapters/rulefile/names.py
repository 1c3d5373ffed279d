"""The machine's own names: users, their groups, services and network namespaces."""

from __future__ import annotations

import grp
import pwd
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


_NAMED_NAMESPACES = Path("/run/netns")
_NAMESPACES = {"host": Path("/proc/1/ns/net"), "own": Path("/proc/thread-self/ns/net")}


def _nobody_knows(name: str) -> None:
    """Know no name at all."""
    del name


@dataclass(frozen=True, slots=True)
class Names:
    """Looks names up: the system's, or what a test gives."""

    uid_of: Callable[[str], int | None]
    """Returns the uid of a user; None if there is no such user."""
    ports_of: Callable[[str], frozenset[int]]
    """Returns the ports of a service in all protocols; none if there is no such service."""
    gid_of: Callable[[str], int | None] = _nobody_knows
    """Returns the gid of a group of users; None if there is no such group."""
    netns_of: Callable[[str], int | None] = _nobody_knows
    """Returns the inode number of a network namespace; None if there is none of this name now.

    Names are those of ``ip netns``, ``host`` for the first process's and ``own`` for ours.
    """


def system_names() -> Names:
    """Return the names of this machine.

    That is `getpwnam(3)`, `getservbyname(3)`, `getgrnam(3)` and `ip-netns(8)`.
    """
    return Names(_uid_of, _ports_of, _gid_of, _netns_of)


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # ValueError: no name can have such characters
        return None


def _gid_of(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):  # see above
        return None


def _netns_of(name: str) -> int | None:
    path = _NAMESPACES.get(name) or _NAMED_NAMESPACES / name
    try:
        return path.stat().st_ino if _is_one_name(name) else None
    except (OSError, ValueError):
        return None


def _is_one_name(name: str) -> bool:
    return "/" not in name and name not in {"", ".", ".."}


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
