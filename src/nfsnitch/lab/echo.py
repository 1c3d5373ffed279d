"""A TCP and UDP service for the lab: echoes, swallows or answers HTTP, and notes who came.

``python -m nfsnitch.lab.echo [--echo PORT] [--sink PORT] [--http PORT] [--at ADDRESS]`` says
``ready`` on standard output once it listens (at those addresses, or without any at all of them),
then one line for every TCP connection and UDP datagram: what it is, where it came from, where it
went to and how many bytes a datagram had. On SIGUSR1 it says ``settled`` as soon as nothing waits
any more at its sockets: what had come by the time of the signal has a line by then.
"""

from __future__ import annotations

import argparse
import asyncio
import select
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import cast

BACKLOG = 4096
SETTLED = "settled"
PAGE = "hello from the server\n"
"""What HTTP answers, whatever is asked for."""
ANYWHERE = "::"
_Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_CHUNK_BYTES = 65536
_RECEIVE_BUFFER_BYTES = 4 << 20
_ROUNDS_TO_A_NOTE = 5
"""From accept() to the task that notes the connection asyncio goes round its loop thrice."""


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
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, talk: _Talk
) -> None:
    saddr, sport = writer.get_extra_info("peername")[:2]
    daddr, dport = writer.get_extra_info("sockname")[:2]
    note("tcp", plain(saddr), sport, plain(daddr), dport)
    try:
        await talk(reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        # A program that exits at once resets its connection: nothing to say about it. Who sends
        # no HTTP gets none.
        pass
    finally:
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _swallow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(_CHUNK_BYTES):
        pass


async def _welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await reader.readuntil(b"\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PAGE)}\r\nConnection: close\r\n\r\n"
    writer.write((head + ("" if asked.startswith(b"HEAD ") else PAGE)).encode("ascii"))
    await writer.drain()


def _opened(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    family, *_, place = socket.getaddrinfo(address, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != ANYWHERE)
    if kind is socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    sock.bind(place)
    sock.setblocking(False)  # noqa: FBT003  the standard library has no keyword for it
    return sock


async def _serve_datagrams(address: str, port: int, doors: select.poll, *, echo: bool) -> None:
    sock = _opened(socket.SOCK_DGRAM, address, port)
    doors.register(sock, select.POLLIN)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(port, echo=echo), sock=sock)


async def _serve(address: str, port: int, doors: select.poll, talk: _Talk) -> asyncio.Server:
    sock = _opened(socket.SOCK_STREAM, address, port)
    doors.register(sock, select.POLLIN)
    return await asyncio.start_server(
        lambda reader, writer: _connection(reader, writer, talk), sock=sock, backlog=BACKLOG
    )


async def _settle(doors: select.poll) -> None:
    """Say so once nobody waits at the *doors*, and all who were let in have been noted."""
    while doors.poll(0):  # noqa: ASYNC110  the loop goes round meanwhile, which is what empties them
        await asyncio.sleep(0)
    for _ in range(_ROUNDS_TO_A_NOTE):
        await asyncio.sleep(0)
    note(SETTLED)


async def _main(options: argparse.Namespace) -> None:
    doors = select.poll()
    kinds = [(options.echo, _echo), (options.sink, _swallow), (options.http, _welcome)]
    servers = []
    for address in options.at or [ANYWHERE]:
        for port, talk in [(port, talk) for ports, talk in kinds for port in ports]:
            if talk is not _welcome:
                await _serve_datagrams(address, port, doors, echo=talk is _echo)
            servers.append(await _serve(address, port, doors, talk))
    settling: set[asyncio.Task[None]] = set()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: settling.add(asyncio.ensure_future(_settle(doors)))
    )
    note("ready")
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="nfsnitch-lab-echo", description=__doc__)
    parser.add_argument("--echo", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--sink", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--http", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--at", action="append", default=[], metavar="ADDRESS")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
