"""A TCP and UDP service for the lab: echoes or swallows, and notes who came.

``python -m nfsnitch.lab.echo [--echo PORT] [--sink PORT]`` says ``ready`` on standard output once
it listens, then one line for every TCP connection and UDP datagram: what it is, where it came
from, where it went to and how many bytes a datagram had. On SIGUSR1 it says ``settled`` as soon as
nothing waits any more at its sockets: what had come by the time of the signal has a line by then.
"""

from __future__ import annotations

import argparse
import asyncio
import select
import signal
import socket
import sys
from typing import cast

BACKLOG = 4096
SETTLED = "settled"
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


async def _serve(port: int, doors: select.poll, *, echo: bool) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    datagrams, stream = (
        _dual_stack(kind, port) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    )
    for sock in (datagrams, stream):
        doors.register(sock, select.POLLIN)
    await loop.create_datagram_endpoint(lambda: _Datagrams(port, echo=echo), sock=datagrams)
    return await asyncio.start_server(
        lambda reader, writer: _connection(reader, writer, echo=echo),
        sock=stream,
        backlog=BACKLOG,
    )


async def _settle(doors: select.poll) -> None:
    """Say so once nobody waits at the *doors*, and all who were let in have been noted."""
    while doors.poll(0):  # noqa: ASYNC110  the loop goes round meanwhile, which is what empties them
        await asyncio.sleep(0)
    for _ in range(_ROUNDS_TO_A_NOTE):
        await asyncio.sleep(0)
    note(SETTLED)


async def _main(echo_ports: list[int], sink_ports: list[int]) -> None:
    doors = select.poll()
    servers = [await _serve(port, doors, echo=True) for port in echo_ports]
    servers += [await _serve(port, doors, echo=False) for port in sink_ports]
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
    options = parser.parse_args()
    asyncio.run(_main(options.echo, options.sink))


if __name__ == "__main__":
    main()
