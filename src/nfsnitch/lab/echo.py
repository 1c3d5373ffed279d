"""A TCP and UDP service for the lab: echoes or swallows, and notes who came.

``python -m nfsnitch.lab.echo [--echo PORT] [--sink PORT]`` says ``ready`` on standard output once
it listens, then one line for every TCP connection and UDP datagram: what it is, where it came from,
where it went to and how many bytes a datagram had.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from typing import cast

BACKLOG = 4096
_CHUNK_BYTES = 65536
_RECEIVE_BUFFER_BYTES = 4 << 20


class _Datagrams(asyncio.DatagramProtocol):
    """Notes datagrams, and sends them back if it is to."""

    def __init__(self, port: int, *, echo: bool) -> None:
        self._port, self._echo = port, echo
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        note("udp", plain(addr[0]), addr[1], self._port, len(data))
        if self._echo and self._transport is not None:
            self._transport.sendto(data, addr)


def note(*words: str | int) -> None:
    """Write one line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def plain(address: str) -> str:
    """Return an IPv4 address without the clothes that a dual-stack socket puts on it."""
    return address.removeprefix("::ffff:")


async def _connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, echo: bool
) -> None:
    saddr, sport = writer.get_extra_info("peername")[:2]
    daddr, dport = writer.get_extra_info("sockname")[:2]
    note("tcp", plain(saddr), sport, plain(daddr), dport)
    try:
        while data := await reader.read(_CHUNK_BYTES):
            if echo:
                writer.write(data)
                await writer.drain()
    except ConnectionError:
        # A program that exits at once resets its connection: nothing to say about it.
        pass
    finally:
        writer.close()


def _dual_stack(kind: socket.SocketKind, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if kind is socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    sock.bind(("::", port))
    sock.setblocking(False)  # noqa: FBT003  the standard library has no keyword for it
    return sock


async def _serve(port: int, *, echo: bool) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(
        lambda: _Datagrams(port, echo=echo), sock=_dual_stack(socket.SOCK_DGRAM, port)
    )
    return await asyncio.start_server(
        lambda reader, writer: _connection(reader, writer, echo=echo),
        sock=_dual_stack(socket.SOCK_STREAM, port),
        backlog=BACKLOG,
    )


async def _main(echo_ports: list[int], sink_ports: list[int]) -> None:
    servers = [await _serve(port, echo=True) for port in echo_ports]
    servers += [await _serve(port, echo=False) for port in sink_ports]
    note("ready")
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="nfsnitch-lab-echo", description=__doc__)
    parser.add_argument("--echo", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--sink", type=int, action="append", default=[], metavar="PORT")
    options = parser.parse_args()
    asyncio.run(_main(options.echo, options.sink))


if __name__ == "__main__":
    main()
