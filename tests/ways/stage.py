"""Where programs send in every way there is, before one firewall; and what a way is."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child, Finished
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.world import CLIENT, SERVER, World

COUNT = 20
"""How many times each way is tried."""
FEW = 5
"""The same, where one time takes long."""
PORT = 4242
EXIT_CANNOT = 77
"""What the programs in tests/programs exit with where the kernel lacks something."""
_TIMEOUT_S = 60.0
_DELETED = " (deleted)"


class LackingError(Exception):
    """The kernel, or the machine, has not what the way takes."""


class Truth(NamedTuple):
    """What one sender says of itself (tests/programs/truth.h)."""

    daddr: str
    pid: int
    tid: int
    device: int
    inode: int
    exe: str
    """Without what the kernel adds to it."""
    deleted: bool

    @classmethod
    def read(cls, line: str) -> Truth:
        """Return what one line says."""
        daddr, pid, tid, device, inode, exe = line.split(maxsplit=5)
        numbers = (int(pid), int(tid), int(device), int(inode))
        return cls(daddr, *numbers, exe.removesuffix(_DELETED), exe.endswith(_DELETED))


class Opener(NamedTuple):
    """Who opened the sockets."""

    pid: int
    exe: str


OLDER = "older"
"""In place of an opener: nobody was there to see it."""


class Sent(NamedTuple):
    """What has been sent, and what the records must say of it."""

    truths: Sequence[Truth]
    """One for each destination; none if the kernel sent."""
    opener: Opener | str | None = None
    """`OLDER`, or None: the sender itself."""
    exe: str | None = None
    """The path, where the sender's own view of it is another; ``?TEXT``: unknown, for a reason that
    has the text in it."""
    uid: int = 0
    script: str | None = None
    by_kernel: Sequence[str] = ()
    """Destinations of packets that are the kernel's own."""
    by_thread: bool = False
    """Each was sent by another thread."""

    @property
    def destinations(self) -> set[str]:
        """Return where it all went."""
        return {truth.daddr for truth in self.truths} | set(self.by_kernel)


@dataclass(frozen=True, slots=True)
class Place:
    """The addresses that are one way's own, so that its packets are known by where they go."""

    number: int

    @property
    def ipv4(self) -> str:
        """The first; the others follow it."""
        return f"198.18.{self.number}.1"

    @property
    def ipv6(self) -> str:
        """The first; the others follow it."""
        return f"2001:db8:18:{self.number:x}::1"

    def far(self, number: int) -> str:
        """Return an address that is reached by a tunnel."""
        return f"198.19.{self.number}.{number + 1}"

    def near(self, number: int) -> str:
        """Return the end of such a tunnel: the address of that number from `ipv4` on."""
        return f"198.18.{self.number}.{number + 1}"


@dataclass
class Stage:
    """A world, the firewall in it, and what was prepared before that began."""

    world: World
    cleanup: ExitStack
    firewall: Firewall | None = None
    waiting: dict[str, tuple[Child, BinaryIO]] = field(default_factory=dict)
    """By name of the way: a program that has opened its sockets, and by what to let it go on."""

    def copy(self, name: str = "way") -> Path:
        """Return a program of its own that sends (tests/programs/way.c)."""
        return self.world.own_copy(build_program("way"), name)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        exe: str | None = None,
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
        fds: Mapping[int, int] | None = None,
    ) -> list[Truth]:
        """Run a program to its end; return what it says that it has sent."""
        words = [str(word) for word in argv]
        child = self.world.spawn(words, exe=exe, uid=uid, env=env, fds=fds)
        return truths_of(child.finish(_TIMEOUT_S))

    def ip(self, *commands: str) -> None:
        """Run ``ip`` in the client's namespace; raise `LackingError` if it refuses."""
        self.tool(["sh", "-ec", "\n".join(f"ip {command}" for command in commands)])

    def tool(self, argv: Sequence[str | Path]) -> None:
        """Run a tool in the client's namespace; raise `LackingError` if it refuses."""
        done = self.world.run([str(word) for word in argv], timeout_s=_TIMEOUT_S)
        if done.returncode:
            raise LackingError(f"{shlex.join(done.argv)}: {done.stderr.strip()}")

    def mount(self, *options: str | Path) -> None:
        """Mount something in the folder; it is unmounted when the stage is left."""
        words = [str(word) for word in ("mount", *options)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LackingError(f"{shlex.join(words)}: {done.stderr.strip()}")
        unmount = ["umount", "--lazy", words[-1]]
        self.cleanup.callback(subprocess.run, unmount, check=True)

    def start_waiting(
        self, name: str, argv: Sequence[str | Path], *, exe: str | None = None
    ) -> None:
        """Start a program that opens its sockets and waits until `let_go` is called."""
        read_fd, write_fd = os.pipe()
        tell = self.cleanup.enter_context(os.fdopen(write_fd, "wb", buffering=0))
        child = self.world.spawn([str(word) for word in argv], exe=exe, fds={0: read_fd})
        os.close(read_fd)
        child.wait_for_line(child.stdout, lambda line: line == "ready", 30)
        self.waiting[name] = child, tell

    def let_go(self, name: str, count: int) -> list[Truth]:
        """Let that program send *count* times, and keep its sockets; return what it says."""
        child, tell = self.waiting.pop(name)
        tell.write(b"!")
        lines = child.stdout.follow(timeout_s=_TIMEOUT_S, ends_fd=child.pidfd, start=1)
        return [Truth.read(line) for line in itertools.islice(lines, count)]


def truths_of(done: Finished) -> list[Truth]:
    """Return what a sender has said; raise `LackingError` if it says that it cannot."""
    if done.returncode == EXIT_CANNOT:
        raise LackingError(done.stderr.strip())
    assert done.returncode == 0, f"{done.argv}: {done.returncode}: {done.stderr}"
    return [Truth.read(line) for line in done.stdout.splitlines() if line != "ready"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way for a packet to come to be sent: a row of the table in docs/ways-out.md."""

    name: str
    title: str
    send: Callable[[Stage, Place], Sent]
    count: int = COUNT
    needs: str = ""
    """What a kernel may lack; "": nothing, so it must be right everywhere."""
    blind: Mapping[AttachMode, str] = field(default_factory=dict)
    """Modes that cannot tell whose it is, and why."""
    unsure: Mapping[AttachMode, str] = field(default_factory=dict)
    """Modes that cannot always tell, and what records say then."""
    before: Callable[[Stage, Place], None] | None = None
    """Done before the firewall starts."""


@contextmanager
def staged(rules: Path, ways: Sequence[Way]) -> Iterator[Stage]:
    """Build a world, prepare the *ways*, and start one firewall for them all."""
    with World() as world, ExitStack() as cleanup:
        _make_reachable(world)
        stage = Stage(world, cleanup)
        for number, way in enumerate(ways):
            if way.before is not None:
                way.before(stage, Place(number))
        # What the kernel decides by itself it knows the sender of: here each packet is asked about.
        with Firewall(world, [rules], extra=("--no-cache",)) as firewall:
            stage.firewall = firewall
            yield stage


def _make_reachable(world: World) -> None:
    """Let the server answer for all places, and everybody open ping sockets."""
    for netns, argv in (
        (SERVER, ["ip", "route", "add", "local", "198.18.0.0/15", "dev", "lo"]),
        (SERVER, ["ip", "-6", "route", "add", "local", "2001:db8:18::/48", "dev", "lo"]),
        (CLIENT, ["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"]),
        (CLIENT, ["sysctl", "-qw", "net.ipv4.tcp_fastopen=1"]),
        (CLIENT, ["sysctl", "-qw", "net.ipv4.conf.all.force_igmp_version=2"]),
    ):
        done = world.run(argv, netns=netns)
        assert done.returncode == 0, done.stderr
