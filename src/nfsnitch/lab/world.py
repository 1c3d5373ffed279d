"""The built lab: hosts on wires, a cgroup, a folder, and the programs that run in them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

from nfsnitch.lab import cgroups, namespaces
from nfsnitch.lab.namespaces import CLIENT_AND_SERVER
from nfsnitch.lab.process import Child, Entrance, Finished, Stream, found
from nfsnitch.lab.runs import Run, remove_leftovers
from nfsnitch.lab.waiting import FollowedFile, LabError

PROGRAM_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""What programs in the lab get: nothing of the caller's, whose proxies would lead them astray."""
CLIENT = "client"
SERVER = "server"
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EXECUTABLE = 0o755


class Layout(Protocol):
    """What a world can be made of: hosts, each in a network namespace, one of them the client."""

    def build(self, netns: Callable[[str], str], /) -> None:
        """Make the namespaces and all that is in them.

        *netns* gives each host's namespace its name. What bears such a name is removed with the
        world, also where this raised halfway.
        """


class World:
    """Network namespaces joined by wires; everything goes when the `with` block is left.

    That holds for exceptions, SIGINT, SIGTERM and SIGHUP. After kill -9 the next `World` removes
    what was left.
    """

    def __init__(self, layout: Layout = CLIENT_AND_SERVER) -> None:
        """Prepare it; *layout* says which hosts there are, a client and a server unless it does."""
        self.run_name = Run.new()
        self.folder = self.run_name.folder()
        self.leftovers: list[Run] = []
        """Runs that had been killed and were cleaned up after."""
        self._layout = layout
        self._children: list[Child] = []
        self._numbers = itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Build it."""
        if os.geteuid():
            raise LabError("the lab makes network namespaces: it needs root")
        with ExitStack() as stack:
            stack.enter_context(_ends_by_exception())
            stack.callback(self._tear_down)
            self.leftovers = remove_leftovers()
            self.folder.mkdir(mode=0o755)
            for cgroup in (self.apps, self.infra):
                cgroups.make(cgroup)
            self._layout.build(self.run_name.netns)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tear everything down."""
        self._stack.__exit__(kind, error, traceback)

    @property
    def apps(self) -> Path:
        """Return the cgroup of the client's programs, the one a firewall watches."""
        return self.run_name.cgroup() / "apps"

    @property
    def infra(self) -> Path:
        """Return the cgroup of everything else: services and the firewall itself."""
        return self.run_name.cgroup() / "infra"

    def cgroup(self, name: str) -> Path:
        """Make a cgroup of that name among the client's programs, and return it."""
        return cgroups.make(self.apps / name)

    def netns(self, host: str) -> Path:
        """Return the file that stands for the namespace of *host*."""
        return namespaces.path(self.run_name.netns(host))

    def netns_inode(self, host: str) -> int:
        """Return the inode number of the namespace of *host*, as records give it."""
        return namespaces.inode(self.run_name.netns(host))

    def new_file(self, name: str) -> FollowedFile:
        """Make an empty file of about that name in the folder, to be followed."""
        return FollowedFile(self.folder / f"{next(self._numbers):03d}-{name}")

    def own_copy(self, program: str | Path, name: str) -> Path:
        """Copy a program into the folder under another name: to the firewall it is another one."""
        source = found(str(program), PROGRAM_ENV)
        place = self.folder / f"{next(self._numbers):03d}-bin"
        place.mkdir()
        shutil.copyfile(source, place / name)
        (place / name).chmod(_EXECUTABLE)
        return place / name

    def spawn(  # noqa: PLR0913  all but the first have a default, and are named
        self,
        argv: Sequence[str],
        *,
        netns: str = CLIENT,
        cgroup: Path | None = None,
        exe: str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        env: Mapping[str, str] | None = None,
        stdout: Stream | None = None,
        stderr: Stream | None = None,
        fds: Mapping[int, int] | None = None,
        binds: Mapping[str, str] | None = None,
        mntns: Path | None = None,
    ) -> Child:
        """Start a program on a host; it is in its namespace and cgroup before its exec.

        Without *cgroup* it is among the client's programs (`apps`) on the client, and in `infra`
        on any other host. Returns once it runs. Output goes to files of its own unless *stdout* or
        *stderr* says otherwise. *env* is added to `PROGRAM_ENV`; *fds* maps numbers in the program
        to descriptors here; *exe* is the file to run where that is not ``argv[0]``; *binds* has it
        see other files in some places, and *mntns* names the mount namespace it is to be in.
        """
        name = Path(argv[0]).name
        entrance = Entrance(
            argv=tuple(argv),
            cgroup=cgroup or (self.apps if netns == CLIENT else self.infra),
            netns=self.netns(netns),
            env={**PROGRAM_ENV, **(env or {})},
            cwd=self.folder,
            exe=exe,
            uid=uid,
            gid=gid,
            fds=fds or {},
            binds=binds or {},
            mntns=mntns,
        )
        child = Child.start(
            entrance,
            self.new_file(f"{name}.out") if stdout is None else stdout,
            self.new_file(f"{name}.err") if stderr is None else stderr,
        )
        self._children.append(child)
        return child

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 20.0,
        netns: str = CLIENT,
        cgroup: Path | None = None,
        uid: int | None = None,
    ) -> Finished:
        """Start a program as `spawn` does, wait until it ends, and return what it said."""
        child = self.spawn(argv, netns=netns, cgroup=cgroup, uid=uid)
        return child.finish(timeout_s)

    def _tear_down(self) -> None:
        with _undisturbed(), ExitStack() as stack:
            # Last in, first out: children, then what has this run's name.
            stack.callback(self.run_name.remove)
            for child in self._children:
                stack.callback(child.close)
            self._children.clear()


@contextmanager
def _ends_by_exception() -> Iterator[None]:
    """Let signals that would end the process unwind it instead, where nobody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [n for n in _ENDING_SIGNALS if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off the signals that end the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
