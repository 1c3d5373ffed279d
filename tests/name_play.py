"""Names asked for and answered, with eBPF listening, in a namespace of the test's own."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from attach_mode import present_mode
from builders import own_netns
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.modes import attached
from nfsnitch.adapters.bpf.name_samples import NameSamples
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.counters import Counter
from nfsnitch.core.loader import Loader
from nfsnitch.core.name_sample import DnsPacket, LibcAnswer, NameSample
from nfsnitch.lab import cgroups
from nfsnitch.lab.firewall import LOADER_VARIABLE
from nfsnitch.lab.runs import Run
from nfsnitch.resources import bpf_object

DNS_PORT = 53
TIMEOUT_S = 60.0
_SO_COOKIE = 57


class HasFileno(Protocol):
    """What can be waited for."""

    def fileno(self) -> int: ...


class Listener:
    """The programs at work, and what they have copied."""

    def __init__(self, programs: LoadedPrograms, cgroup: Path) -> None:
        self.programs, self.cgroup = programs, cgroup
        self.owners = OwnerStore(programs, lambda _cookie: None, TimeLimit(0.0, 0.0, 1.0))
        self.samples = NameSamples(programs, self.owners.owner_of)

    def close(self) -> None:
        self.samples.close()
        self.owners.close()

    def heard(self) -> list[NameSample]:
        """Return all that has not been read yet."""
        found: list[NameSample] = []
        while more := list(self.samples.drain()):
            found += more
        return found

    def packets(self) -> list[DnsPacket]:
        """Return the packets of this namespace among that."""
        return [each for each in self.heard() if isinstance(each, DnsPacket)]

    def answers(self, wanted: Callable[[LibcAnswer], bool]) -> list[LibcAnswer]:
        """Return those of the C library that are wanted: the whole machine's are heard."""
        return [each for each in self.heard() if isinstance(each, LibcAnswer) and wanted(each)]

    def counted(self, counter: Counter) -> int:
        return self.owners.counters()[counter]

    @contextmanager
    def listening_here(self) -> Iterator[None]:
        """Have the sockets that this process makes meanwhile be those of the listener's cgroup."""
        with in_cgroup(self.cgroup):
            yield

    def asker(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """Return a socket that is listened to."""
        with self.listening_here():
            made = socket.socket(family, kind)
        made.settimeout(TIMEOUT_S)
        return made


@contextmanager
def listener() -> Iterator[Listener]:
    """Have the programs attached as the environment says, and be in a namespace of one's own."""
    loader = Loader(os.environ.get(LOADER_VARIABLE) or Loader.AUTO)
    with ExitStack() as stack:
        stack.enter_context(own_netns())
        cgroup = cgroups.make(Run.new().cgroup())
        stack.callback(cgroups.remove, cgroup)
        how = (cgroup, present_mode(), loader)
        found = Listener(stack.enter_context(attached(bpf_object(), *how)), cgroup)
        stack.callback(found.close)
        yield found


@contextmanager
def in_cgroup(cgroup: Path) -> Iterator[None]:
    """Put this process into a cgroup for as long as the `with` block takes."""
    lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
    before = next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))
    (cgroup / "cgroup.procs").write_text("0", "ascii")
    try:
        yield
    finally:
        (v2_root() / before / "cgroup.procs").write_text("0", "ascii")


def server(address: str, kind: int = socket.SOCK_DGRAM, port: int = DNS_PORT) -> socket.socket:
    """Return a socket that answers at port 53, and is not listened to."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.settimeout(TIMEOUT_S)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def cookie_of(sock: socket.socket) -> int:
    raw = sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    (cookie,) = struct.unpack("=Q", raw)
    return int(cookie)


def question(number: int = 77, name: str = "a.example") -> bytes:
    """Return a question for the IPv4 addresses of *name* (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + b"\0\1\0\1"


def answer(to: bytes, more: bytes = b"", number: int | None = None) -> bytes:
    """Return an answer to a question: what is in it is the resolver's business, not eBPF's."""
    (asked,) = struct.unpack_from(">H", to)
    return struct.pack(">2H", asked if number is None else number, 0x8180) + to[4:] + more


def exchange(
    asker: socket.socket, resolver: socket.socket, asked: bytes, more: bytes = b""
) -> bytes:
    """Ask, have it answered, and return the answer as the asker has it."""
    asker.send(asked)
    came, where = resolver.recvfrom(65_536)
    resolver.sendto(answer(came, more), where)
    return asker.recv(65_536)


def read_all(sock: socket.socket, size: int) -> bytes:
    """Read *size* bytes of a stream."""
    found = b""
    while len(found) < size:
        found += sock.recv(size - len(found))
    return found


def take_all(sock: socket.socket) -> None:
    """Read what waits in a datagram socket."""
    while is_readable(sock):
        sock.recv(65_536)


def is_readable(file: HasFileno) -> bool:
    """Whether there is something to read, right now."""
    return bool(select.select([file], [], [], 0)[0])
