"""The sockets past netfilter that are open in this network namespace."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters import raw_diag
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import Opening

PACKET_SOCKETS = Path("/proc/thread-self/net/packet")
_SOCK_RAW = 3


def bypass_sockets() -> dict[int, Opening]:
    """Return them by inode; of an AF_XDP socket the kernel may list none (CONFIG_XDP_SOCKETS_DIAG).

    Raises:
        OSError: the kernel does not say.

    """
    found: dict[int, Opening] = {}
    for line in PACKET_SOCKETS.read_text("ascii").splitlines()[1:]:
        # net/packet/af_packet.c, packet_seq_show(): address, references, type, protocol,
        # interface, running, memory, user, inode
        _, _, kind, protocol, *_, number = line.split()
        found[int(number)] = Opening(Bypass.PACKET, int(kind), int(protocol, 16))
    with suppress(FileNotFoundError):
        for inode in raw_diag.xdp_sockets():
            found[inode] = Opening(Bypass.XDP, _SOCK_RAW, 0)
    return found
