"""Asks the kernel which socket has a tuple (``sock_diag(7)``, net/ipv4/inet_diag.c)."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import closing
from struct import Struct
from typing import Any, NamedTuple

from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.unknown import Unknown

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300

_REQUEST = Struct("=IHHII BBBBI 2s2s16s16sI8s")
"""struct nlmsghdr, struct inet_diag_req_v2."""
REPLY_HEADER = Struct("=IHHII")
_REPLY = Struct("=BBBB HH16s16sIQ IIIII")
"""struct inet_diag_msg."""
_ALL_STATES = 0xFFFFFFFF
NO_COOKIE = b"\xff" * 8
_RECEIVE_BYTES, _DUMP_BYTES = 8192, 65_536
"""More than the kernel puts into one message of a dump (32 KiB)."""
_NUMBERED_PROTOCOLS = (6, 17, 33, 132, 136, 255)
"""TCP, UDP, DCCP, SCTP, UDP-Lite; 255 stands for raw sockets (net/ipv4/raw_diag.c)."""
_TIME_WAIT = 6
"""TCP_TIME_WAIT (net/tcp_states.h)."""
_OPEN_STATES = _ALL_STATES & ~(1 << _TIME_WAIT)

ANSWERED_PROTOCOLS = frozenset({Protocol.TCP, Protocol.UDP, Protocol.UDPLITE})
_FOUND_PROTOCOLS = ANSWERED_PROTOCOLS | {Protocol.SCTP}
"""Of SCTP associations are found, also while they are made; listening for others is another table.

The kernel loads what lists them by itself, if it has SCTP at all (``sock_load_diag_module``).
"""
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class SocketEntry(NamedTuple):
    """A socket in the kernel's tables."""

    cookie: int
    """The same number as SO_COOKIE and ``bpf_get_socket_cookie``."""
    inode: int
    """Of the socket file; 0 when no file refers to it any more."""
    uid: int


class ListedSocket(NamedTuple):
    """A socket as a listing of the kernel's tables has it."""

    cookie: int
    family: int
    """AF_INET or AF_INET6."""
    proto: int
    state: int
    """Of enum tcp_state (net/tcp_states.h), also for other protocols."""
    saddr: bytes
    sport: int
    """0: none yet. Of a raw socket: its protocol."""
    daddr: bytes
    dport: int
    """0: it is not connected."""
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
        fields = self._fields(flow)
        return None if fields is None else _entry(fields)

    def find_connected(self, flow: Flow) -> SocketEntry | None:
        """Return as `find` does, but no socket that is not connected to where *flow* goes.

        So no listener, no UDP socket that sends to many, and nothing that only waits for the last
        packets of a connection to be gone.

        Raises:
            OSError: the kernel did not answer, or not with a socket.

        """
        fields = self._fields(flow)
        if fields is None or fields[1] == _TIME_WAIT or fields[5] != _port_be(flow):
            return None
        # An IPv4 flow of an IPv6 socket has its address in the last four of sixteen bytes.
        remote = fields[7] if fields[0] == socket.AF_INET6 else fields[7][:4]
        return _entry(fields) if remote[-len(flow.daddr) :] == flow.daddr else None

    def local_ports(self, proto: int) -> set[int]:
        """Return the local ports of all sockets of a protocol that is in `ANSWERED_PROTOCOLS`.

        Raises:
            OSError: the kernel did not answer.

        """
        return {
            port for family in _FAMILIES.values() for port in self._ports_of_family(family, proto)
        }

    def _ports_of_family(self, family: int, proto: int) -> Iterator[int]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        header = _REQUEST.size, _SOCK_DIAG_BY_FAMILY, flags, self._sequence, 0
        any_socket = b"", b"", b"", b"", 0, NO_COOKIE
        self._netlink.send(_REQUEST.pack(*header, family, proto, 0, 0, _OPEN_STATES, *any_socket))
        while True:
            raw = self._netlink.recv(_DUMP_BYTES)
            at = 0
            while at + REPLY_HEADER.size <= len(raw):
                length, kind, _, sequence, _ = REPLY_HEADER.unpack_from(raw, at)
                if sequence == self._sequence:
                    if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                        return
                    yield socket.ntohs(_REPLY.unpack_from(raw, at + REPLY_HEADER.size)[4])
                at += (length + 3) & ~3

    def _fields(self, flow: Flow) -> tuple[Any, ...] | None:
        """Return the fields of struct inet_diag_msg."""
        if flow.proto not in _FOUND_PROTOCOLS:
            return None
        if isinstance(flow.sport, Unknown) or isinstance(flow.dport, Unknown):
            return None
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        # udp_dump_one takes the two ends the other way round, as an incoming packet has them.
        swapped = flow.proto not in {Protocol.TCP, Protocol.SCTP}
        header = _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._sequence
        self._netlink.send(request(*header, flow, swapped=swapped))
        return self._reply()

    def give_cookies(self) -> int:
        """See to it that every socket of this namespace has its cookie; return how many there are.

        Listing a socket gives it one (``sock_diag_save_cookie``). Protocols that this kernel does
        not list are left out.

        Raises:
            OSError: the kernel did not answer.

        """
        pairs = itertools.product(_FAMILIES.values(), _NUMBERED_PROTOCOLS)
        return sum(_listed(family, proto) for family, proto in pairs)

    def _reply(self) -> tuple[Any, ...] | None:
        while True:
            raw = self._netlink.recv(_RECEIVE_BYTES)
            _, kind, _, sequence, _ = REPLY_HEADER.unpack_from(raw)
            if sequence == self._sequence:  # else: what an earlier call gave up waiting for
                break
        if kind == _NLMSG_ERROR:
            return None
        return _REPLY.unpack_from(raw, REPLY_HEADER.size)


def request(
    kind: int, flags: int, sequence: int, flow: Flow, cookie: bytes = NO_COOKIE, *, swapped: bool
) -> bytes:
    """Return a message of *kind* about the socket that sends *flow*, or receives it if *swapped*.

    Protocols without ports have none there.
    """
    sport, dport = (0 if isinstance(port, Unknown) else port for port in (flow.sport, flow.dport))
    local = sport.to_bytes(2, "big"), flow.saddr
    remote = dport.to_bytes(2, "big"), flow.daddr
    if swapped:
        local, remote = remote, local
    return _REQUEST.pack(
        _REQUEST.size,
        kind,
        flags,
        sequence,
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
        cookie,
    )


def _entry(fields: tuple[Any, ...]) -> SocketEntry:
    return SocketEntry(cookie=fields[9], inode=fields[14], uid=fields[13])


def _port_be(flow: Flow) -> int | Unknown:
    return flow.dport if isinstance(flow.dport, Unknown) else socket.htons(flow.dport)


def every_socket() -> Iterator[ListedSocket]:
    """Yield the sockets of this network namespace, of the protocols that the kernel lists.

    It takes no privilege.

    Raises:
        OSError: the kernel did not answer.

    """
    for family, proto in itertools.product(_FAMILIES.values(), _NUMBERED_PROTOCOLS):
        for raw in _entries(family, proto):
            fields = _REPLY.unpack_from(raw)
            size = 4 if fields[0] == socket.AF_INET else 16
            yield ListedSocket(
                cookie=fields[9],
                family=fields[0],
                proto=proto,
                state=fields[1],
                saddr=fields[6][:size],
                sport=socket.ntohs(fields[4]),
                daddr=fields[7][:size],
                dport=socket.ntohs(fields[5]),
                uid=fields[13],
            )


def _listed(family: int, proto: int) -> int:
    """Have the kernel list the sockets of a family and protocol; return how many they are."""
    return sum(1 for _ in _entries(family, proto))


def _entries(family: int, proto: int) -> Iterator[bytes]:
    """Yield each ``struct inet_diag_msg`` of a listing, with what follows it."""
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)) as dump:
        dump.connect((0, 0))
        dump.settimeout(1)
        dump.send(_list_request(family, proto))
        while True:
            for kind, content in _messages(dump.recv(_DUMP_BYTES)):
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                yield content


def _list_request(family: int, proto: int) -> bytes:
    header = (_REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
    everything = (0, 0, _ALL_STATES, b"", b"", b"", b"", 0, NO_COOKIE)
    return _REQUEST.pack(*header, family, proto, *everything)


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield types and contents of the netlink messages in *raw*, which are aligned to 4 bytes."""
    at = 0
    while at + REPLY_HEADER.size <= len(raw):
        length, kind, *_ = REPLY_HEADER.unpack_from(raw, at)
        yield kind, raw[at + REPLY_HEADER.size : at + length]
        at += max((length + 3) & ~3, REPLY_HEADER.size)
