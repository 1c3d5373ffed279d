"""Destroys sockets, one by its exact tuple and cookie (``SOCK_DESTROY``, net/core/sock_diag.c).

A TCP connection is aborted: its peer gets a reset, its program ECONNABORTED. A UDP socket is
disconnected, and its program gets the same error once.
"""

from __future__ import annotations

import errno
import socket
from enum import Enum, auto
from struct import Struct

from nfsnitch.adapters.sock_diag import NO_COOKIE, REPLY_HEADER, SockDiag, request
from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.unknown import Unknown

_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_ERROR = Struct("=i")
_COOKIE = Struct("=Q")
_NOBODY = Flow(Family.IPV4, Protocol.TCP, bytes(4), bytes(4), 0, 0)
"""No socket has it."""


class Destroyed(Enum):
    """What became of a socket that was to be destroyed."""

    DONE = auto()
    GONE = auto()
    """It had gone by itself, or become another's."""
    SPARED = auto()
    """It may be many flows' (UDP not connected), or is of a kind that is never destroyed."""
    UNABLE = auto()
    """The kernel cannot (no CONFIG_INET_DIAG_DESTROY), or we may not (no CAP_NET_ADMIN)."""


class SockDestroy:
    """A netlink socket in the network namespace in which it was made."""

    def __init__(self, sock_diag: SockDiag) -> None:
        """Let *sock_diag* say which UDP sockets are connected."""
        self._sock_diag = sock_diag
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        self._netlink.connect((0, 0))
        self._netlink.settimeout(1)
        self._sequence = 0
        self.problem = self._tried()
        """Why no socket can be destroyed; None: they can."""

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def destroy(self, flow: Flow, sock_cookie: int | Unknown) -> Destroyed:
        """Destroy the socket with this cookie that sends *flow*, if it sends nothing else."""
        if isinstance(sock_cookie, Unknown) or flow.proto not in {Protocol.TCP, Protocol.UDP}:
            return Destroyed.SPARED
        if self.problem is not None:
            return Destroyed.UNABLE
        try:
            entry = self._sock_diag.find_connected(flow)
            if entry is None or entry.cookie != sock_cookie:
                return Destroyed.GONE if flow.proto == Protocol.TCP else Destroyed.SPARED
            error = self._ask(flow, _COOKIE.pack(sock_cookie))
        except OSError:
            return Destroyed.UNABLE
        if error:
            return Destroyed.UNABLE if error in _REFUSALS else Destroyed.GONE
        return Destroyed.DONE

    def _tried(self) -> str | None:
        try:
            error = self._ask(_NOBODY, NO_COOKIE)
        except OSError as problem:
            return str(problem)
        return _REFUSALS.get(error)

    def _ask(self, flow: Flow, cookie: bytes) -> int:
        """Return 0 or an error number."""
        self._sequence += 1
        header = _SOCK_DESTROY, _NLM_F_REQUEST | _NLM_F_ACK, self._sequence
        # Unlike the look-up, udp_diag_destroy takes the ends as TCP has them.
        self._netlink.send(request(*header, flow, cookie, swapped=False))
        while True:
            raw = self._netlink.recv(4096)
            _, _, _, sequence, _ = REPLY_HEADER.unpack_from(raw)
            if sequence == self._sequence:
                return -int(_ERROR.unpack_from(raw, REPLY_HEADER.size)[0])


_REFUSALS = {
    errno.EOPNOTSUPP: "this kernel was built without CONFIG_INET_DIAG_DESTROY",
    errno.EPERM: "destroying sockets takes CAP_NET_ADMIN",
}
