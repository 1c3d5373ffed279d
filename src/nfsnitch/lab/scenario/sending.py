"""Packets and frames, sent byte by byte as they were built."""

from __future__ import annotations

import collections
import os
import select
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nfsnitch.lab.inside import inside
from nfsnitch.lab.process import Child, EndedError
from nfsnitch.lab.scenario.model import Network
from nfsnitch.lab.scenario.raw_sender import LENGTH, OUTCOME, REQUEST
from nfsnitch.lab.scenario.wiring import end_at, ends_of
from nfsnitch.lab.waiting import Deadline, LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT, World

SCRIPT = Path(__file__).with_name("raw_sender.py")
MAX_PACKETS = 100_000
"""In one request, repetitions counted."""
WITHIN_NS = 20_000_000_000
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Sending:
    """What the kernel said to each packet, in the order in which they were sent."""

    errnos: tuple[int, ...]
    """0: it took it. EPERM is what a program gets whose packet a firewall refuses at once."""

    @property
    def sent(self) -> int:
        """Return how many the kernel took."""
        return self.errnos.count(0)

    @property
    def refused(self) -> Mapping[int, int]:
        """Return errno → how many packets were refused with it."""
        return collections.Counter(number for number in self.errnos if number)

    def __str__(self) -> str:
        """Return it in a few words."""
        parts = [f"{self.sent} sent"]
        parts += [f"{many} refused ({os.strerror(no)})" for no, many in self.refused.items()]
        return ", ".join(parts)


class RawSender:
    """A program that sends packets by raw sockets: to the firewall one like any other.

    It is an interpreter, and lives until the `with` block is left, or its world. netfilter's output
    hooks see its packets, and routes and policies apply. The kernel corrects three fields of IPv4
    headers: the total length, the checksum, and an identification or source address of 0 (raw(7)).
    """

    def __init__(
        self,
        world: World,
        network: Network,
        *,
        program: Path | None = None,
        host: str = CLIENT,
        cgroup: Path | None = None,
    ) -> None:
        """Prepare it.

        *program* is a copy of an interpreter (see `interpreter`), None a new one called ``sender``;
        *cgroup* is as for `World.spawn`.
        """
        self._world, self._host, self._cgroup = world, host, cgroup
        self._program = program
        having = ends_of(network, host)
        self._first = having[0].carrier if having else ""
        self._socket: socket.socket | None = None
        self._child: Child | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    @property
    def child(self) -> Child:
        """Return its process."""
        if self._child is None:
            raise LabError("the sender has not been started")
        return self._child

    def start(self) -> None:
        """Start it, unless it runs already."""
        if self._child is not None and not self._child.has_ended():
            return
        self.close()
        program = self._program or self._world.own_copy(interpreter(), "sender")
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = self._world.spawn(
                    (str(program), "-I", "-S", str(SCRIPT)),
                    netns=self._host,
                    cgroup=self._cgroup,
                    fds={0: theirs.fileno()},
                )
            except BaseException:
                ours.close()
                raise
        self._socket = ours

    def close(self) -> None:
        """End it; it may be started again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._child is not None:
            self._child.close()
            self._child = None

    def send(
        self,
        packets: Sequence[bytes],
        *,
        count: int = 1,
        every_ns: int = 0,
        interface: str | None = None,
        within_ns: int = WITHIN_NS,
    ) -> Sending:
        """Send *packets*, all of them *count* times, *every_ns* apart; return what became of them.

        *interface* is where link-local and multicast destinations of IPv6 are, None the host's
        first; others go by the routes.

        Raises:
            LabError: that is too much at once, or the program is not there any more.
            TimeIsOverError: it takes longer than *within_ns*; the program is ended.

        """
        total = _checked(packets, count)
        self.start()
        if self._socket is None:
            raise LabError("the sender has not been started")
        name = (interface or self._first).encode()
        request = REQUEST.pack(len(packets), count, every_ns, name)
        request += b"".join(LENGTH.pack(len(packet)) + packet for packet in packets)
        try:
            answer = _told(self._socket, request, total * OUTCOME.size, Deadline(within_ns / 1e9))
        except TimeIsOverError:
            self.close()
            raise
        except OSError as problem:
            raise EndedError(f"the sender has ended: {self.child.stderr.text()}") from problem
        return Sending(tuple(number for (number,) in OUTCOME.iter_unpack(answer)))


def interpreter() -> Path:
    """Return the Python to be copied for senders: the binary, not an environment's link to it."""
    return Path(sys.executable).resolve()


def send_frames(
    world: World,
    network: Network,
    host: str,
    frames: Sequence[bytes],
    *,
    interface: str | None = None,
    count: int = 1,
    every_ns: int = 0,
) -> Sending:
    """Send *frames* onto a wire of *host*, all of them *count* times, *every_ns* apart.

    *interface* None is the host's first; of a VLAN it tags the frames, unless it is given the
    interface below.

    Raises:
        LabError: there is no such interface, or *host* is the client, of whose packet sockets the
            firewall tells: send from the other end of its wire what is to arrive there.

    """
    if host == CLIENT:
        raise LabError(
            "frames are sent to the client, by the host that it is wired to, not from it"
        )
    total = _checked(frames, count)
    end = end_at(network, host, interface)

    def opened() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((interface or end.carrier, 0))
        return sock

    with inside(world.netns(host), opened) as sock:
        each = (frames[number % len(frames)] for number in range(total))
        return Sending(tuple(_put(sock, each, every_ns)))


def _put(sock: socket.socket, frames: Iterable[bytes], every_ns: int) -> Iterable[int]:
    due_ns = time.monotonic_ns()
    for number, frame in enumerate(frames):
        if number and every_ns:
            due_ns += every_ns
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        try:
            sock.send(frame)
        except OSError as problem:
            yield problem.errno or -1
        else:
            yield 0


def _checked(packets: Sequence[bytes], count: int) -> int:
    total = len(packets) * count
    if total > MAX_PACKETS:
        raise LabError(f"{total} packets at once are too many: {MAX_PACKETS} at most")
    return total


def _told(sock: socket.socket, request: bytes, size: int, deadline: Deadline) -> bytes:
    """Return the answer to a request."""
    sock.settimeout(deadline.timeout_s)
    try:
        sock.sendall(request)
    except TimeoutError as problem:
        raise TimeIsOverError("the sender does not take its packets") from problem
    answer = b""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while len(answer) < size:
        if not poll.poll(deadline.left_ms()):
            took = len(answer) // OUTCOME.size
            raise TimeIsOverError(f"{took} packets were sent in {deadline.timeout_s:g} s, no more")
        chunk = sock.recv(_CHUNK_BYTES)
        if not chunk:
            raise ConnectionError("the sender is gone")
        answer += chunk
    return answer
