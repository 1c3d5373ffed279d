"""A built network with the firewall running in it, ready for one scenario after the other.

Building a network and starting a daemon takes longer than most scenarios do, so they share both as
far as they can: between two of them programs end, rules are put in force anew, answers are revoked,
and what conntrack and the routes remember is taken away.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from nfsnitch.core.attach import AttachMode
from nfsnitch.lab import cgroups
from nfsnitch.lab.resolving import resolver_files
from nfsnitch.lab.scenario.capture import Captures
from nfsnitch.lab.scenario.copies import Copies
from nfsnitch.lab.scenario.daemon import StageDaemon
from nfsnitch.lab.scenario.forgetting import forget
from nfsnitch.lab.scenario.model import Network, Scenario
from nfsnitch.lab.scenario.network import Layout, addresses
from nfsnitch.lab.scenario.serving import serve
from nfsnitch.lab.waiting import PATIENCE, LabError
from nfsnitch.lab.world import World
from nfsnitch.protocol import Status


class Stage:
    """Everything that scenarios with the same network share, in a `with` block."""

    def __init__(self, plan: Network, attach: AttachMode | None = None) -> None:
        """Plan a network; the firewall is started with the first scenario."""
        self.network = plan
        self.world = World(Layout(plan))
        self.daemon = StageDaemon(self.world, attach)
        self.copies = Copies(self.world.folder / "programs")
        self.mntns: Path | None = None
        """The mount namespace of all programs, where they find names by the network's server.

        One for all: to the firewall, a program in another mount namespace is another program.
        """
        self._numbers = itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Build it."""
        with ExitStack() as stack:
            stack.enter_context(self.world)
            cgroups.make(self.others)
            serve(self.world, self.network)
            self.captures = stack.enter_context(Captures(self.world, self.network))
            resolver = _resolver(self.network)
            if resolver is not None:
                self.mntns = self._mounted(resolver_files(self.world, resolver))
            stack.callback(self.daemon.end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it all down."""
        self._stack.__exit__(kind, error, traceback)

    def _mounted(self, files: Mapping[str, str]) -> Path:
        """Return a mount namespace in which these files are in the place of this machine's."""
        keeper = self.world.spawn(["sleep", "infinity"], cgroup=self.world.infra, binds=files)
        return Path(f"/proc/{keeper.pid}/ns/mnt")

    @property
    def others(self) -> Path:
        """Return the cgroup of what scenarios run on other hosts than the client."""
        return self.world.run_name.cgroup() / "others"

    def new_folder(self, name: str) -> Path:
        """Return a path for a scenario's folder; it is not made yet."""
        return self.world.folder / f"{next(self._numbers):03d}-{name}"

    def begin(self, scenario: Scenario, rules: str) -> None:
        """Have the daemon enforce *rules*, and begin to count, record and capture.

        Raises:
            RulesRefusedError: something is wrong with the rules.
            LabError: the daemon does not start.

        """
        self.daemon.enforce(scenario, rules)
        for host in self.network.hosts:
            forget(self.world.netns(host.name))
        self.captures.clear()
        self.daemon.begin(scenario)

    def end(self) -> None:
        """Leave nothing of a scenario behind but its files."""
        daemon = self.daemon
        if daemon.is_paused:
            daemon.resume()
        for cgroup in (self.world.apps, self.others):
            cgroups.kill(cgroup)
        try:
            status = self.settle()
            if status is not None:
                daemon.revoke_answers(status)
        except LabError:  # whatever this is, the next scenario has nothing to do with it
            daemon.is_spoilt = True

    def wait_for_frame(self, timeout_s: float) -> None:
        """Wait until something passes on a wire; so many seconds at the most."""
        self.captures.wait(timeout_s / PATIENCE)

    def settle(self) -> Status | None:
        """Wait until all that is under way has been decided, recorded and captured.

        A packet in the queue is no longer under way once it is held for an answer. Returns what the
        daemon said then; None if there is none that can be asked.
        """
        if self.daemon.is_on:
            return self.daemon.settle(self.captures.settled)
        self.captures.settled()
        return None


def _resolver(network: Network) -> str | None:
    """Return an address of the first host that serves DNS; None if there is none."""
    for host in network.hosts:
        if "dns" in host.services:
            return next(iter(addresses(network, host.name)), None)
    return None
