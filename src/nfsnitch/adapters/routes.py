"""Asks the kernel where packets to an address go (``rtnetlink(7)``, net/ipv4/route.c)."""

from __future__ import annotations

import socket
from struct import Struct
from typing import NamedTuple

from nfsnitch.core.flow import Family

_NETLINK_ROUTE = 0
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 1
_RTN_LOCAL = 2
_RTA_DST, _RTA_OIF = 1, 4
_LOOPBACK_IFINDEX = 1
"""The first interface of every network namespace (drivers/net/loopback.c)."""
_MAX_KNOWN = 4_096

_NLMSGHDR = Struct("=IHHII")
_RTMSG = Struct("=BBBBBBBBI")
_ATTRIBUTE = Struct("=HH")
_NUMBER = Struct("=I")
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Route(NamedTuple):
    """Where packets to an address go."""

    is_local: bool
    """The address is one of this machine's (in this network namespace)."""
    ifindex: int
    """Of the interface through which they leave; 0: none."""

    @property
    def is_loopback(self) -> bool:
        """Whether they stay on this machine."""
        return self.ifindex == _LOOPBACK_IFINDEX


_NOWHERE = Route(is_local=False, ifindex=0)


class Routes:
    """The answers for each address, asked for once. Rules by mark or source are not considered."""

    def __init__(self) -> None:
        """Ask in the present network namespace."""
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._netlink.connect((0, 0))
        self._netlink.settimeout(1)
        self._sequence = 0
        self._known: dict[bytes, Route] = {}

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def to(self, family: Family, address: bytes) -> Route:
        """Return where packets to a packed address go; nowhere if the kernel knows no way.

        Raises:
            OSError: the kernel did not answer.

        """
        if address not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[address] = self._ask(family, address)
        return self._known[address]

    def _ask(self, family: Family, address: bytes) -> Route:
        self._sequence += 1
        bits = 8 * len(address)
        wanted = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _RTA_DST) + address
        size = _NLMSGHDR.size + _RTMSG.size + len(wanted)
        self._netlink.send(
            _NLMSGHDR.pack(size, _RTM_GETROUTE, _NLM_F_REQUEST, self._sequence, 0)
            + _RTMSG.pack(_FAMILIES[family], bits, 0, 0, 0, 0, 0, 0, 0)
            + wanted
        )
        while True:
            raw = self._netlink.recv(4096)
            _, kind, _, sequence, _ = _NLMSGHDR.unpack_from(raw)
            if sequence == self._sequence:
                return _route(raw[_NLMSGHDR.size :]) if kind == _RTM_NEWROUTE else _NOWHERE


def _route(raw: bytes) -> Route:
    kind = _RTMSG.unpack_from(raw)[7]
    ifindex, at = 0, _RTMSG.size
    while at + _ATTRIBUTE.size <= len(raw):
        length, attribute = _ATTRIBUTE.unpack_from(raw, at)
        if length < _ATTRIBUTE.size:
            break
        if attribute == _RTA_OIF:
            (ifindex,) = _NUMBER.unpack_from(raw, at + _ATTRIBUTE.size)
        at += (length + 3) & ~3
    return Route(kind == _RTN_LOCAL, ifindex)
