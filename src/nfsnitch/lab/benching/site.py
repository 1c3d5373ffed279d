"""Where one contender is measured: a world of its own, the server in it, and what connects."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfsnitch.lab.benching.amounts import Amounts
from nfsnitch.lab.benching.rule_files import OTHER_ADDRESSES, PORT, SERVER_ADDRESS, STREAM_PORT
from nfsnitch.lab.process import Child, Finished
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT, PROGRAM_ENV, SERVER, World

READY = "ready"
_READY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """The world, and the programs in it."""

    world: World
    amounts: Amounts
    server: Child
    connect: Path
    """Own copies, that a rule may name: tests/programs/bench_connect.c"""
    send: Path
    """and bench_send.c."""
    iperf: str | None
    """iperf3, where it is installed."""

    @property
    def programs(self) -> list[Path]:
        """What the rule that decides is to name."""
        found = [] if self.iperf is None else [Path(self.iperf).resolve()]
        return [self.connect, self.send, *found]

    def run(self, *argv: str | Path | int, timeout_s: float = 30.0) -> Finished:
        """Run a program of the client's to its end.

        Raises:
            LabError: it failed.

        """
        done = self.world.run([str(each) for each in argv], timeout_s=timeout_s)
        if done.returncode:
            raise LabError(f"{done.argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
        return done


def iperf_path() -> str | None:
    """Return where iperf3 is; None if it is not installed."""
    return shutil.which("iperf3", path=PROGRAM_ENV["PATH"])


@contextmanager
def built(amounts: Amounts) -> Iterator[Site]:
    """Build one, and take it down again.

    Raises:
        LabError: that needs root, and a C compiler.

    """
    names = ("bench_server", "bench_connect", "bench_send")
    serve, connect, send = (compiled(name) for name in names)
    with World() as world:
        _route(world, SERVER, "local", OTHER_ADDRESSES, "dev", "lo")
        _route(world, CLIENT, OTHER_ADDRESSES, "via", SERVER_ADDRESS)
        argv = [str(serve), str(PORT), str(STREAM_PORT)]
        server = world.spawn(argv, netns=SERVER)
        server.wait_for_line(server.stdout, READY.__eq__, _READY_TIMEOUT_S)
        yield Site(
            world,
            amounts,
            server,
            world.own_copy(connect, connect.name),
            world.own_copy(send, send.name),
            iperf_path(),
        )


def _route(world: World, netns: str, *words: str) -> None:
    done = world.run(["ip", "route", "add", *words], netns=netns, cgroup=world.infra)
    if done.returncode:
        raise LabError(f"no route {' '.join(words)}: {done.stderr.strip()}")


def compiled(name: str) -> Path:
    """Return a program of tests/programs, compiled.

    Raises:
        LabError: it cannot be, and why.

    """
    try:
        return build_program(name)
    except OSError as problem:
        raise LabError(f"{name}.c cannot be compiled: {problem}") from problem
