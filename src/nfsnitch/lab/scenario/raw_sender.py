"""Writes packets to raw sockets, as it is told on its standard input; a program of its own.

Run by path with ``python -I -S`` by whatever copy of the interpreter is to be the sender (see
sending.py). Standard input is a stream socket. A request is its header, and then each packet with
its length before it; the answer is one number a packet, 0 or the errno with which it was refused.

It imports nothing that the interpreter does not bring with it compiled: to find, read and run
`socket` and what that imports takes longer than the interpreter's own start.
"""

from __future__ import annotations

import _socket as socket
import errno
import struct
import time

REQUEST = struct.Struct("!IIQ16s")
"""How many packets, how often all of them, nanoseconds between two, interface for IPv6 addresses
that need one."""
LENGTH = struct.Struct("!I")
OUTCOME = struct.Struct("!H")
IPV6 = 6
_CHUNK_BYTES = 1 << 16
_SO_SNDBUFFORCE = 32
_SEND_BUFFER_BYTES = 64 << 20
"""Packets that the firewall holds still count for the socket that sent them."""
_IPV4_ADDRESS, _IPV6_ADDRESS = slice(16, 20), slice(24, 40)


def _raw(family: int) -> socket.socket | int:
    """Return a socket that takes packets with their header, or why there is none."""
    try:
        sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except OSError as problem:
        return problem.errno or errno.EIO
    sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return sock


def _destination(packet: bytes, scope: int) -> tuple[str | int, ...]:
    """Return where the packet says that it goes, as far as it says so."""
    if packet and packet[0] >> 4 == IPV6:
        address = packet[_IPV6_ADDRESS].ljust(16, b"\0")
        needs_scope = address[0] == 0xFF or address[:2] == b"\xfe\x80"  # noqa: PLR2004
        text = socket.inet_ntop(socket.AF_INET6, address)
        return (text, 0, 0, scope if needs_scope else 0)
    return (socket.inet_ntop(socket.AF_INET, packet[_IPV4_ADDRESS].ljust(4, b"\0")), 0)


def _outcome(packet: bytes, sockets: dict[bool, socket.socket | int], scope: int) -> int:
    """Send it; return 0 or the errno."""
    sock = sockets[bool(packet) and packet[0] >> 4 == IPV6]
    if isinstance(sock, int):
        return sock
    try:
        sock.sendto(packet, _destination(packet, scope))
    except OSError as problem:
        return problem.errno or errno.EIO
    return 0


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name) if name else 0
    except OSError:
        return 0


class _Words:
    """What is said on a stream socket."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self._left = b""

    def read(self, size: int) -> bytes:
        """Return so many bytes; less only at the end of all."""
        parts, have = [self._left], len(self._left)
        while have < size and (part := self._told.recv(_CHUNK_BYTES)):
            parts.append(part)
            have += len(part)
        data = b"".join(parts)
        self._left = data[size:]
        return data[:size]


def main() -> None:
    """Send until nobody is left who says what."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, 0)
    words = _Words(told)
    sockets = {False: _raw(socket.AF_INET), True: _raw(socket.AF_INET6)}
    while head := words.read(REQUEST.size):
        many, count, every_ns, name = REQUEST.unpack(head)
        packets = [words.read(*LENGTH.unpack(words.read(LENGTH.size))) for _ in range(many)]
        scope = _index(name.rstrip(b"\0").decode())
        due_ns = time.monotonic_ns()
        for number in range(many * count):
            if number and every_ns:
                due_ns += every_ns
                time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            told.sendall(OUTCOME.pack(_outcome(packets[number % many], sockets, scope)))


if __name__ == "__main__":
    main()
