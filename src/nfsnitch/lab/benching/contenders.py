"""What is measured, started between the client's programs and the network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfsnitch.adapters.nft import Queueing
from nfsnitch.control_client import Client
from nfsnitch.lab.benching.bare_path import ACCEPT
from nfsnitch.lab.benching.rule_files import HELD_PORT, SERVER_ADDRESS, rules_text
from nfsnitch.lab.benching.site import READY, Site, compiled
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.waiting import Deadline, TimeIsOverError
from nfsnitch.lab.world import CLIENT
from nfsnitch.options import DEFAULT_QUEUE_NUM
from nfsnitch.protocol import Status, StatusRequest, socket_path

PYTHON_WORKER = Path(__file__).with_name("python_worker.py")
_WORKER_TIMEOUT_S = 20.0
_READY_TIMEOUT_S = 300.0
"""To read very many rules takes long."""
_HOLDING_TIMEOUT_S = 60.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Running:
    """A contender at work."""

    pid: int | None = None
    """None: there is nobody."""
    start_s: float = 0.0
    """From its exec until it was ready."""
    socket: Path | None = None
    """Where nfsnitch listens for requests; None: it is not nfsnitch."""


Start = Callable[[Site], AbstractContextManager[Running]]


@contextmanager
def nobody(_site: Site) -> Iterator[Running]:
    """No firewall at all: no rule, no connection tracking."""
    yield Running()


@contextmanager
def tracking(site: Site) -> Iterator[Running]:
    """Track connections, as whatever looks at their state does, and queue none of them."""
    _install(site, ACCEPT)
    yield Running()


@contextmanager
def c_worker(site: Site) -> Iterator[Running]:
    """Run the smallest C program that accepts every queued packet."""
    yield _bare(site, [str(compiled("bench_accept"))])


@contextmanager
def python_worker(site: Site) -> Iterator[Running]:
    """Run a Python program that does the same."""
    yield _bare(site, [sys.executable, "-I", str(PYTHON_WORKER)])


def _bare(site: Site, argv: Sequence[str]) -> Running:
    world, queue_num = site.world, str(DEFAULT_QUEUE_NUM)
    began_s = time.monotonic()
    worker = world.spawn([*argv, queue_num], cgroup=world.infra)
    worker.wait_for_line(worker.stdout, READY.__eq__, _WORKER_TIMEOUT_S)
    start_s = time.monotonic() - began_s
    _install(site, queue_num)
    return Running(worker.pid, start_s)


def _install(site: Site, action: str) -> None:
    """Have `bare_path` put its rule in force."""
    path = [sys.executable, "-m", "nfsnitch.lab.benching.bare_path", action]
    child = site.world.spawn(path, cgroup=site.world.infra, env=same_modules())
    child.wait_for_line(child.stdout, set(Queueing).__contains__, _WORKER_TIMEOUT_S)
    child.finish(_WORKER_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Nfsnitch:
    """The daemon, called with a site to start it there."""

    rules: int
    settings: str = ""
    """Further lines of the rule file."""
    records: bool = True
    """Whether it writes a record of each decision to a file."""
    watchers: int = 0
    """So many ``nfsnitch watch --json``."""
    cache: bool = False
    """Whether the kernel repeats decisions by itself."""
    anywhere: bool = False
    """Whether the rule that decides allows the same at all addresses."""
    held: int = 0
    """So many flows wait for an answer meanwhile."""

    def __call__(self, site: Site) -> AbstractContextManager[Running]:
        """Start it there."""
        return self._started(site)

    @contextmanager
    def _started(self, site: Site) -> Iterator[Running]:
        world = site.world
        path = world.folder / "rules.yaml"
        default = "ask" if self.held else "deny"
        text = rules_text(
            *(self.rules, site.programs),
            default=default,
            settings=self.settings,
            anywhere=self.anywhere,
        )
        path.write_text(text, "utf-8")
        extra = () if self.cache else ("--no-cache",)
        firewall = Firewall(
            world, [path], records=self.records, extra=extra, ready_timeout_s=_READY_TIMEOUT_S
        )
        began_s = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(firewall)
            start_s = time.monotonic() - began_s
            socket = Path(socket_path(world.netns_inode(CLIENT)))
            self._surround(site, socket)
            yield Running(firewall.child.pid, start_s, socket)

    def _surround(self, site: Site, socket: Path) -> None:
        watch = [sys.executable, "-m", "nfsnitch.cli", "watch", "--json", "--socket", str(socket)]
        world = site.world
        for _ in range(self.watchers):
            world.spawn(watch, cgroup=world.infra, env=same_modules())
        if self.held:
            hold = [str(site.send), "held", SERVER_ADDRESS, str(HELD_PORT), str(self.held)]
            _wait_until_ready(world.spawn(hold))
        if self.watchers or self.held:
            _wait_for(
                socket,
                lambda told: told.watchers >= self.watchers and told.held_flows >= self.held,
            )


def _wait_until_ready(child: Child) -> None:
    child.wait_for_line(child.stdout, READY.__eq__, _WORKER_TIMEOUT_S)


def _wait_for(socket: Path, fits: Callable[[Status], bool]) -> None:
    deadline = Deadline(_HOLDING_TIMEOUT_S)
    with Client(socket) as client:
        while not fits(told := client.ask(StatusRequest(), Status)):
            if not deadline.left_ms():
                raise TimeIsOverError(
                    f"only {told.held_flows} flows are held, and {told.watchers} watch"
                )
            time.sleep(_LOOK_S)
