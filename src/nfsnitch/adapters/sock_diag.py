"""Asks the kernel which socket has a tuple (``sock_diag(7)``, net/ipv4/inet_diag.c)."""

from __future__ import annotations

import socket
from struct import Struct
from typing import NamedTuple

from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.unknown import Unknown

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1

_REQUEST = Struct("=IHHII BBBBI 2s2s16s16sI8s")
"""struct nlmsghdr, struct inet_diag_req_v2."""
_REPLY_HEADER = Struct("=IHHII")
_REPLY = Struct("=BBBB HH16s16sIQ IIIII")
"""struct inet_diag_msg."""
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_RECEIVE_BYTES = 8192

ANSWERED_PROTOCOLS = frozenset({Protocol.TCP, Protocol.UDP, Protocol.UDPLITE})
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class SocketEntry(NamedTuple):
    """A socket in the kernel's tables."""

    cookie: int
    """The same number as SO_COOKIE and ``bpf_get_socket_cookie``."""
    inode: int
    """Of the socket file; 0 when no file refers to it any more."""
    uid: int


class SockDiag:
    """A netlink socket in the network namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        self._netlink.connect((0, 0))
        self._netlink.settimeout(1)
        self._sequence = 0

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def find(self, flow: Flow) -> SocketEntry | None:
        """Return the socket that sends *flow*; None if there is none, or its protocol has no table.

        Where several sockets share a local UDP port, the kernel answers with the one that it would
        hand an answering packet to.

        Raises:
            OSError: the kernel did not answer, or not with a socket.

        """
        if flow.proto not in ANSWERED_PROTOCOLS:
            return None
        if isinstance(flow.sport, Unknown) or isinstance(flow.dport, Unknown):
            return None
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._netlink.send(self._request(flow, flow.sport, flow.dport))
        return self._reply()

    def _request(self, flow: Flow, sport: int, dport: int) -> bytes:
        local = sport.to_bytes(2, "big"), flow.saddr
        remote = dport.to_bytes(2, "big"), flow.daddr
        if flow.proto != Protocol.TCP:
            # udp_dump_one takes the two the other way round, as an incoming packet has them.
            local, remote = remote, local
        return _REQUEST.pack(
            _REQUEST.size,
            _SOCK_DIAG_BY_FAMILY,
            _NLM_F_REQUEST,
            self._sequence,
            0,
            _FAMILIES[flow.family],
            flow.proto,
            0,
            0,
            _ALL_STATES,
            local[0],
            remote[0],
            local[1],
            remote[1],
            0,
            _NO_COOKIE,
        )

    def _reply(self) -> SocketEntry | None:
        while True:
            raw = self._netlink.recv(_RECEIVE_BYTES)
            _, kind, _, sequence, _ = _REPLY_HEADER.unpack_from(raw)
            if sequence == self._sequence:  # else: what an earlier call gave up waiting for
                break
        if kind == _NLMSG_ERROR:
            return None
        fields = _REPLY.unpack_from(raw, _REPLY_HEADER.size)
        return SocketEntry(cookie=fields[9], inode=fields[14], uid=fields[13])
