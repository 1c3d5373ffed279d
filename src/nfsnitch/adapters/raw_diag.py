"""What else ``sock_diag(7)`` can do: list raw and XDP sockets, and close a connection."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from struct import Struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_FLAG, _ACK, _DUMP = 1, 4, 0x300
_AF_XDP = 44
_IPPROTO_RAW = 255

_HEADER = Struct("=IHHII")
_INET_REQUEST = Struct("=BBBBI 2s2s16s16sI8s")
"""struct inet_diag_req_v2; for raw sockets the fourth byte is their protocol."""
_INET_REPLY = Struct("=BBBB HH16s16sIQ IIIII")
_XDP_REQUEST = Struct("=BBHIIQ")
_XDP_REPLY = Struct("=BBHIQ")
_ERROR = Struct("=i")
_ALL_STATES = 0xFFFFFFFF
_ANY_COOKIE = b"\xff" * 8
_NO_PORT, _NO_ADDRESS = bytes(2), bytes(16)
_RECEIVE_BYTES = 65_536


def raw_sockets(proto: int) -> set[int]:
    """Return the inodes of the raw IPv4 sockets of a protocol in this network namespace.

    Raises:
        OSError: the kernel cannot tell.

    """
    body = _INET_REQUEST.pack(
        *(socket.AF_INET, _IPPROTO_RAW, 0, proto, _ALL_STATES),
        *(_NO_PORT, _NO_PORT, _NO_ADDRESS, _NO_ADDRESS, 0, _ANY_COOKIE),
    )
    return {_INET_REPLY.unpack_from(each)[14] for each in _dump(body)}


def xdp_sockets() -> set[int]:
    """Return the inodes of the AF_XDP sockets in this network namespace.

    Raises:
        OSError: the kernel cannot tell; ENOENT: it has no such sockets, or none that it lists.

    """
    with closing(XdpSockets()) as listed:
        return listed.inodes()


class XdpSockets:
    """Lists the AF_XDP sockets of the network namespace in which it is first asked, many times.

    To open and close a netlink socket each time costs more than all the rest.
    """

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None

    def inodes(self) -> set[int]:
        """Return their inodes.

        Raises:
            OSError: the kernel cannot tell; ENOENT: as `xdp_sockets` says.

        """
        if self._netlink is None:
            self._netlink = _opened()
        try:
            answers = _answers(self._netlink, _XDP_REQUEST.pack(_AF_XDP, 0, 0, 0, 0, 0))
            return {_XDP_REPLY.unpack_from(each)[3] for each in answers}
        except FileNotFoundError:  # an answer like any other
            raise
        except OSError:
            self.close()  # the rest of the answer may come yet
            raise

    def close(self) -> None:
        """Close the netlink socket, if it is open."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None


def destroy(connection: socket.socket) -> int:
    """Close an IPv4 TCP connection from outside; return 0, or the kernel's errno."""
    (here, sport), (there, dport) = connection.getsockname(), connection.getpeername()
    body = _INET_REQUEST.pack(
        *(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL_STATES),
        *(sport.to_bytes(2, "big"), dport.to_bytes(2, "big")),
        *(socket.inet_aton(here).ljust(16, b"\0"), socket.inet_aton(there).ljust(16, b"\0")),
        *(0, _ANY_COOKIE),
    )
    with _opened() as netlink:
        _ask(netlink, _SOCK_DESTROY, _REQUEST_FLAG | _ACK, body)
        raw = netlink.recv(_RECEIVE_BYTES)
    return -int(_ERROR.unpack_from(raw, _HEADER.size)[0])


def _dump(body: bytes) -> Iterator[bytes]:
    """Yield the bodies of all answers to a request for a list."""
    with _opened() as netlink:
        yield from _answers(netlink, body)


def _answers(netlink: socket.socket, body: bytes) -> Iterator[bytes]:
    _ask(netlink, _SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG | _DUMP, body)
    while True:
        raw = netlink.recv(_RECEIVE_BYTES)
        while raw:
            size, kind, *_ = _HEADER.unpack_from(raw)
            message, raw = raw[_HEADER.size : size], raw[(size + 3) & ~3 :]
            if kind in {_NLMSG_ERROR, _NLMSG_DONE}:
                number = -_ERROR.unpack_from(message)[0]
                if number:
                    raise OSError(number, os.strerror(number))
                return
            yield message


def _opened() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    netlink.settimeout(5)
    return netlink


def _ask(netlink: socket.socket, kind: int, flags: int, body: bytes) -> None:
    netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
