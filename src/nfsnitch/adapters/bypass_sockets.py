"""The sockets past netfilter that are open in this network namespace."""

from __future__ import annotations

from contextlib import suppress

from nfsnitch.adapters.raw_diag import XdpSockets
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import Opening

PACKET_SOCKETS = "/proc/thread-self/net/packet"
_SOCK_RAW = 3


class BypassSockets:
    """Lists them, each second."""

    def __init__(self) -> None:
        self._xdp = XdpSockets()

    def by_inode(self) -> dict[int, Opening]:
        """Return them by inode.

        Of an AF_XDP socket the kernel may list none (CONFIG_XDP_SOCKETS_DIAG).

        Raises:
            OSError: the kernel does not say.

        """
        found: dict[int, Opening] = {}
        with open(PACKET_SOCKETS, "rb", buffering=0) as file:  # noqa: PTH123  a Path takes its time
            lines = file.readall().splitlines()[1:]
        for line in lines:
            # net/packet/af_packet.c, packet_seq_show(): address, references, type, protocol,
            # interface, running, memory, user, inode
            _, _, kind, protocol, *_, number = line.split()
            found[int(number)] = Opening(Bypass.PACKET, int(kind), int(protocol, 16))
        with suppress(FileNotFoundError):
            for inode in self._xdp.inodes():
                found[inode] = Opening(Bypass.XDP, _SOCK_RAW, 0)
        return found

    def close(self) -> None:
        """Ask no more."""
        self._xdp.close()
