"""The small C programs of the tests: built once, and a swarm of them with its ground truth."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nfsnitch.lab.process import Finished
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import World

REPOSITORY = Path(__file__).parents[3]
SOURCES = REPOSITORY / "tests" / "programs"
BUILT = REPOSITORY / "build" / "programs"
COMPILER = (
    *("gcc", "-std=gnu11", "-O2", "-static"),
    *("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"),
)
"""Static, because an exec without a dynamic linker is several times as fast."""
REPORT_FD = 3
_COMPILE_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """What one short-lived program says about itself: who it was and where it sent from."""

    pid: int
    sport: int
    exe: str = field(default="", compare=False)
    """Its executable, as /proc/self/exe has it: with " (deleted)" behind where that is so."""

    @classmethod
    def read(cls, line: str) -> Self:
        """Return what the line of a report says."""
        pid, sport, exe = line.split(maxsplit=2)
        return cls(int(pid), int(sport), exe)


@dataclass(frozen=True, slots=True)
class Way:
    """How the members of a swarm come to be; see tests/programs/swarm.c and report.h."""

    name: str
    swarm: tuple[str, ...] = ()
    """What the swarm does; ``{PROTO}`` becomes the protocol."""
    member: tuple[str, ...] = ()
    """What each member does."""


WAYS = (
    Way("exec", ("--fork",)),
    Way("double-fork", ("--each", "3"), ("--double-fork",)),
    Way("vfork"),
    Way("passed", ("--pass", "{PROTO}"), ("--passed",)),
    Way("deleted", ("--link",), ("--unlink",)),
)
"""Exec and send; a grandchild whose parent has ended sends; vfork and exec; a socket that another
process has made and sent over; the sender's file is gone by then."""
VFORK = WAYS[2]


@dataclass(frozen=True, slots=True)
class Swarm:
    """A swarm that has run, and the truth about its members."""

    done: Finished
    sent: tuple[Sent, ...]


def build_program(name: str, sources: Path = SOURCES, built: Path = BUILT) -> Path:
    """Compile ``NAME.c``, unless this very source is compiled already; return the program."""
    source = sources / f"{name}.c"
    digest = hashlib.sha256(repr(COMPILER).encode())
    for file in (source, *sorted(sources.glob("*.h"))):
        digest.update(file.read_bytes())
    program = built / f"{name}-{digest.hexdigest()[:16]}" / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        _compile(source, program)
    return program


def _compile(source: Path, program: Path) -> None:
    # Under another name first: parallel runs may build it at the same time.
    descriptor, unfinished = tempfile.mkstemp(dir=program.parent)
    os.close(descriptor)
    done = subprocess.run(
        [*COMPILER, "-o", unfinished, str(source)],
        capture_output=True,
        text=True,
        timeout=_COMPILE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        Path(unfinished).unlink()
        raise LabError(f"{source.name} does not compile:\n{done.stderr}")
    Path(unfinished).chmod(0o755)
    Path(unfinished).replace(program)


def swarm(
    world: World,
    count: int,
    program: Path,
    *args: str,
    way: Way = VFORK,
    jobs: int = 8,
    cgroup: Path | None = None,
    timeout_s: float = 60.0,
) -> Swarm:
    """Run *program* *count* times, at most *jobs* at once; return what each said about itself.

    An argument ``{BASE}`` becomes BASE plus the number of the member: ``{20000}`` gives each a port
    of its own.
    """
    report = world.new_file("report")
    proto = "tcp" if program.name == "one_connect" else "udp"
    options = (each.replace("{PROTO}", proto) for each in way.swarm)
    argv = (str(build_program("swarm")), "-j", str(jobs), *options, str(count), str(program))
    argv += (*way.member, *args)
    with report.path.open("ab") as file:
        child = world.spawn(argv, cgroup=cgroup, fds={REPORT_FD: file.fileno()})
    done = child.finish(timeout_s)
    return Swarm(done, tuple(Sent.read(line) for line in report.lines()))
