"""Which interfaces lead to other network namespaces (``rtnetlink(7)``, net/core/rtnetlink.c)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.conntrack_table import attributes

_NETLINK_ROUTE = 0
_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 5, 10, 18, 29, 37
_IFLA_INFO_KIND = 1
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_PATIENCE_S = 1.0
_RECEIVE_BYTES = 65_536
_MAX_ROUTES_BYTES = 262_144

_NLMSGHDR = Struct("=IHHII")
_IFINFOMSG = Struct("=BxHiII")
_NUMBER = Struct("=I")
_EXT_MASK = Struct("=HHI")
_COLUMNS = ((1, 7, 0), (0, 1, -1))
"""Of the two files: destination, mask or length of the prefix, interface."""
_ROUTES = (Path("/proc/thread-self/net/route"), Path("/proc/thread-self/net/ipv6_route"))


class Link(NamedTuple):
    """One interface of the present network namespace."""

    ifindex: int
    kind: bytes
    """What it is called in ``ip link``: ``veth``, ``bridge``, ``vlan``; empty of real ones."""
    master: int
    """Of which it is a port; 0: of none."""
    below: int
    """On which it stands, in this namespace, as a VLAN does; 0: on none."""
    is_door: bool
    """It is one end of a veth pair whose other end is in another network namespace."""


class Links:
    """The interfaces, looked at anew only after the kernel has said that something changed."""

    def __init__(self) -> None:
        """Look in the present network namespace, and listen for changes in it."""
        self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._changes.bind((0, _RTMGRP_LINK))
        self._links: dict[int, Link] | None = None
        self._doors: dict[int, tuple[int, ...]] = {}
        self._uplinks: frozenset[int] | None = None

    def close(self) -> None:
        """Close the netlink socket."""
        self._changes.close()

    def forget_routes(self) -> None:
        """Look at the default routes anew when they are asked for next."""
        self._uplinks = None

    def doors(self, ifindex: int) -> tuple[int, ...]:
        """Return the veth ends by which packets from other namespaces may come to *ifindex*.

        That is the interface itself, or any port of a bridge, at whatever depth.

        Raises:
            OSError: the kernel did not answer.

        """
        links = self._present()
        if ifindex not in self._doors:
            found = below(links, ifindex)
            self._doors[ifindex] = tuple(each for each in found if links[each].is_door)
        return self._doors[ifindex]

    def is_uplink(self, ifindex: int) -> bool:
        """Whether a default route leaves by the interface: what comes in there is from outside."""
        if self._uplinks is None:
            self._uplinks = frozenset(default_routes())
        return ifindex in self._uplinks

    def _present(self) -> dict[int, Link]:
        # Heard of before it is asked for: what changes meanwhile is heard of next time.
        if self._has_changed() or self._links is None:
            self._doors.clear()
            self._links = {link.ifindex: link for link in _listed()}
        return self._links

    def _has_changed(self) -> bool:
        changed = False
        while True:
            try:
                self._changes.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: there was more to hear of than had room
                changed = True
            else:
                changed = True


def below(links: dict[int, Link], ifindex: int) -> list[int]:
    """Return *ifindex* and everything whose packets come up through it; [] if there is none."""
    found: list[int] = []
    ahead = [ifindex]
    while ahead:
        at = ahead.pop()
        if at in links and at not in found:
            found.append(at)
            ahead += [each.ifindex for each in links.values() if each.master == at]
            ahead.append(links[at].below)
    return found


def parsed(payload: memoryview) -> Link | None:
    """Return the interface in the payload of an RTM_NEWLINK message; None if it is not whole."""
    if len(payload) < _IFINFOMSG.size:
        return None
    _, _, ifindex, _, _ = _IFINFOMSG.unpack_from(payload)
    found = attributes(payload[_IFINFOMSG.size :])
    numbers = [_number(found.get(kind)) for kind in (_IFLA_MASTER, _IFLA_LINK)]
    kind = attributes(found.get(_IFLA_LINKINFO, memoryview(b""))).get(_IFLA_INFO_KIND, b"")
    name = bytes(kind).split(b"\0", 1)[0]
    elsewhere = _IFLA_LINK_NETNSID in found
    return Link(
        ifindex, name, numbers[0], 0 if elsewhere else numbers[1], elsewhere and name == b"veth"
    )


def default_routes(files: tuple[Path, Path] = _ROUTES) -> Iterator[int]:
    """Yield the interfaces by which default routes leave (``proc_pid_net(5)``)."""
    for file, columns in zip(files, _COLUMNS, strict=True):
        for line in _lines(file):
            try:
                destination, length, name = itemgetter(*columns)(line.split())
                if not destination.strip("0") and not length.strip("0"):
                    yield socket.if_nametoindex(name)
            except (LookupError, OSError):  # not whole; or the interface is gone meanwhile
                continue


def _lines(file: Path) -> list[str]:
    try:
        with file.open(encoding="ascii", errors="replace") as text:
            return text.read(_MAX_ROUTES_BYTES).splitlines()
    except OSError:  # no IPv6 here
        return []


def _number(content: memoryview | None) -> int:
    return 0 if content is None or len(content) != _NUMBER.size else int(_NUMBER.unpack(content)[0])


def _listed() -> Iterator[Link]:
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)) as netlink:
        netlink.settimeout(_PATIENCE_S)
        # What is in the way of many interfaces in one answer is their statistics.
        brief = _EXT_MASK.pack(_EXT_MASK.size, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        size = _NLMSGHDR.size + _IFINFOMSG.size + len(brief)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        header = _NLMSGHDR.pack(size, _RTM_GETLINK, flags, 1, 0)
        netlink.send(header + _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + brief)
        while True:
            raw = memoryview(netlink.recv(_RECEIVE_BYTES))
            while len(raw) >= _NLMSGHDR.size:
                length, kind, _, _, _ = _NLMSGHDR.unpack_from(raw)
                payload = raw[_NLMSGHDR.size : length]
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    number = -int.from_bytes(payload[:4], "little", signed=True)
                    raise OSError(number, f"interfaces cannot be listed: {os.strerror(number)}")
                link = parsed(payload) if kind == _RTM_NEWLINK else None
                if link is not None:
                    yield link
                raw = raw[(length + 3) & ~3 :]
