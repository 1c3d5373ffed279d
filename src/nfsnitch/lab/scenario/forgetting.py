"""What a namespace remembers of one scenario is taken away before the next.

That is conntrack's table (as ``conntrack -F`` empties it; net/netfilter/nf_conntrack_netlink.c) and
what the routes have learnt of paths (their MTUs, redirects).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from struct import Struct

from nfsnitch.lab.inside import inside
from nfsnitch.lab.waiting import LabError

_ROUTES = ("/proc/sys/net/ipv4/route/flush", "/proc/sys/net/ipv6/route/flush")
_NETLINK_NETFILTER = 12
_HEADER = Struct("=IHHII BBH")
"""struct nlmsghdr, struct nfgenmsg."""
_DELETE = 1 << 8 | 2
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE; without a tuple it is about all entries."""
_REQUEST_AND_ACK = 1 | 4
_ERRNO = Struct("=i")
_HEADER_BYTES = 16
_TIMEOUT_S = 30.0


def forget(netns: Path) -> None:
    """Take away what the namespace remembers of connections and paths."""
    inside(netns, _forget_all)


def _forget_all() -> None:
    _flush_conntrack()
    for file in _ROUTES:
        # Where /proc/sys cannot be written to, what was learnt of paths stays.
        with suppress(OSError):
            Path(file).write_text("1", encoding="ascii")


def _flush_conntrack() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(_TIMEOUT_S)
        message = _HEADER.pack(_HEADER.size, _DELETE, _REQUEST_AND_ACK, 1, 0, 0, 0, 0)
        netlink.sendto(message, (0, 0))
        answer = netlink.recv(4096)
    (number,) = _ERRNO.unpack_from(answer, _HEADER_BYTES)
    if number:
        raise LabError(f"conntrack's table cannot be emptied: {os.strerror(-number)}")
