"""The daemon of a stage: started and stopped, asked, and counted from where a scenario began."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from nfsnitch.adapters.rulefile.problems import closest, quoted
from nfsnitch.control_client import Client, ControlError
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import DAEMON, STOP_TIMEOUT_S, Firewall
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.scenario import counting
from nfsnitch.lab.scenario.model import ExpectCounter, Scenario
from nfsnitch.lab.waiting import PATIENCE, Deadline, LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT, World
from nfsnitch.protocol import (
    Lists,
    ListsRequest,
    Reloaded,
    ReloadRequest,
    Reply,
    Request,
    Revoked,
    RevokeRequest,
    Rules,
    RulesRequest,
    Status,
    StatusRequest,
    socket_path,
)

_ANSWER_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 20.0
"""What is under way has been decided by then, unless the firewall fails to."""
_LOOK_S = 0.02
_LATE_S = 4.0
"""Longer than the daemon lets records wait (`late_records`)."""
JUDGED = "judged"
"""A counter of the ruleset: packets that it picked for the queue."""
_Kind = TypeVar("_Kind", bound=Reply)


class RulesRefusedError(LabError):
    """The daemon found something wrong with a scenario's rules."""


class UnsettledError(TimeIsOverError):
    """The daemon goes on being busy: packets wait, and nobody decides them."""


class StageDaemon:
    """The firewall in the client of a world; it is started with the first scenario."""

    def __init__(self, world: World, attach: AttachMode | None) -> None:
        self.command: Sequence[str] = DAEMON
        """The command whose ``run`` is the next one that is started."""
        self.growth = counting.Growth({})
        self.is_paused = False
        """It has been stopped by a signal, and cannot answer."""
        self.is_spoilt = False
        """It is not to be used for another scenario."""
        self.is_wanted = False
        """The scenario has not stopped or killed it."""
        self.rules_file = world.folder / "rules.yaml"
        """The file of its rules."""
        self._world, self._attach = world, attach
        self._firewall: Firewall | None = None
        self._options: tuple[str, ...] = ()
        self._first_record = 0
        self._since = counting.Since({}, 0)
        self._last: dict[str, int] = {}
        """The counters as they were told last."""
        self._counts_judged = False

    @property
    def firewall(self) -> Firewall:
        """Return the firewall, which has been started at least once."""
        if self._firewall is None:
            raise LabError("the firewall has not been started")
        return self._firewall

    @property
    def is_on(self) -> bool:
        """Whether there is a daemon that can answer."""
        return self.is_running and not self.is_paused

    @property
    def records(self) -> list[Json]:
        """Return the records since the scenario began."""
        return self.firewall.records[self._first_record :]

    def enforce(self, scenario: Scenario, rules: str) -> None:
        """Put *rules* in force, with a new daemon where the scenario cannot have that of before.

        Raises:
            RulesRefusedError: something is wrong with the rules.
            LabError: the daemon does not start.

        """
        if self.is_running and (self.is_spoilt or self._options != scenario.options):
            self.end()
        self.write_rules(rules)
        if self.is_running:
            problem = self.reload()
            if problem is not None:  # some settings take another daemon
                self.end()
                self._new_firewall(scenario.options, problem)
        else:
            self._new_firewall(scenario.options)
        self.is_spoilt = bool(scenario.options)
        self.is_wanted = True

    def begin(self, scenario: Scenario) -> None:
        """Count and record from here on."""
        self._counts_judged = any(
            isinstance(step, ExpectCounter) and step.name == JUDGED for step in scenario.steps
        )
        counts = self._counts()
        self.growth = counting.Growth(counts)
        self._first_record = len(self.firewall.records)
        self._since = counting.Since(counts, self._first_record)

    def end(self) -> None:
        """End it, if it runs."""
        if self.is_paused:
            self.resume()
        if self.is_running:
            self.firewall.stop()

    def write_rules(self, text: str) -> None:
        """Write the rule file, at one stroke."""
        new = self.rules_file.with_name("rules.new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.rules_file)

    def reload(self) -> str | None:
        """Have the rules read again; return what is wrong with them, None if they are in force."""
        problem = self.ask(ReloadRequest(), Reloaded).problem
        if problem is None:
            self._wait_for_lists()
        return problem

    def ask(self, request: Request, kind: type[_Kind]) -> _Kind:
        """Ask the daemon.

        Raises:
            LabError: it does not answer.

        """
        path = Path(socket_path(self._world.netns_inode(CLIENT)))
        try:
            with Client(path) as client:
                return client.ask(request, kind, _ANSWER_TIMEOUT_S * PATIENCE)
        except ControlError as error:
            raise LabError(f"the daemon does not answer: {error}") from error

    def status(self) -> Status:
        """Return how the daemon is."""
        return self.ask(StatusRequest(), Status)

    def grown(self) -> dict[str, int]:
        """Return how much each counter has grown since the scenario began."""
        return self.growth.of(self._counts()) if self.is_on else self.growth.gone()

    def figure(self, name: str) -> int:
        """Return how much a counter has grown, or another number that the status has.

        Raises:
            LabError: there is none of that name.

        """
        grown = self.grown()
        if name in grown:
            return grown[name]
        number = getattr(self.status(), name, None) if self.is_on else 0
        if isinstance(number, int):
            return number
        hint = closest(name, tuple(grown), "nfsnitch status --all --json lists them")
        raise LabError(f"there is no counter {quoted(name)}; {hint}")

    def wait_for_record(self, timeout_s: float) -> None:
        """Wait for another record; so many seconds (not multiplied by `PATIENCE`) at the most."""
        known = len(self.firewall.records)
        if not self.is_running:
            time.sleep(min(timeout_s, _LOOK_S))  # of a daemon that is gone nothing can be heard
            return
        with suppress(LabError):
            self.firewall.wait_for_records(lambda _: True, 1, timeout_s / PATIENCE, start=known)

    def wait_a_moment(self, timeout_s: float) -> None:
        """Wait for a record or a moment: what counters do is not told by anybody."""
        self.wait_for_record(min(timeout_s, _LOOK_S))

    def stop(self) -> None:
        """Stop the daemon cleanly."""
        if self.is_paused:
            self.resume()
        before = self._counts()
        self.is_wanted = False
        stopped = self.firewall.stop()
        self.growth.stopped(counting.last_words(stopped.stderr) or before)

    def kill(self) -> None:
        """Kill the daemon; its rules stay in force."""
        last = self._last if self.is_paused else self._counts()
        self.is_wanted = False
        self.firewall.child.stop(signal.SIGKILL, STOP_TIMEOUT_S)
        self.is_paused = False
        self.is_spoilt = True
        self.growth.killed(last)

    def start(self) -> None:
        """Start the daemon again."""
        if self.is_running:
            raise LabError("the daemon is running already")
        self._since = counting.Since({}, len(self.firewall.records))
        self.firewall.start()
        self.is_wanted = True
        self._wait_for_lists()

    def pause(self) -> None:
        """Have the daemon stand still, as in a machine that sleeps."""
        child = self.firewall.child
        child.send(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        self.is_paused = True

    def resume(self) -> None:
        """Have the daemon go on."""
        self.firewall.child.send(signal.SIGCONT)
        self.is_paused = False

    @property
    def is_running(self) -> bool:
        """Whether there is a daemon."""
        return self._firewall is not None and not self._firewall.child.has_ended()

    def _counts(self) -> dict[str, int]:
        """Return the counters, and what nft alone counts where that is wanted."""
        judged = {JUDGED: self._judged()} if self._counts_judged else {}
        self._last = self.status().counters | judged
        return self._last

    def _judged(self) -> int:
        argv = ["nft", "--json", "list", "counter", "inet", "nfsnitch", JUDGED]
        done = self._world.run(argv, cgroup=self._world.infra)
        if done.returncode:
            raise LabError(f"nft: {done.stderr.strip()}")
        listed = json.loads(done.stdout)["nftables"]
        return int(next(each["counter"]["packets"] for each in listed if "counter" in each))

    def _new_firewall(self, options: tuple[str, ...], problem: str | None = None) -> None:
        """Start another daemon; *problem* is why the one before would not have the rules."""
        rules = [self.rules_file]
        self._firewall = None
        firewall = Firewall(
            self._world, rules, attach=self._attach, extra=options, command=self.command
        )
        try:
            firewall.start()
        except EndedError as error:
            raise RulesRefusedError(problem or str(error)) from error
        self._firewall, self._options = firewall, options
        self._wait_for_lists()

    def revoke_answers(self) -> None:
        """Take back all rules that answers have made."""
        for kind in ("lasting", "temporary"):
            for row in self.ask(RulesRequest(kind, 0), Rules).rows:
                self.ask(RevokeRequest(row["name"]), Revoked)

    def _wait_for_lists(self) -> None:
        """Wait until all lists are compiled that the rules use; one that cannot be is no reason."""

        def is_ready() -> bool:
            rows = self.ask(ListsRequest(0), Lists).rows
            return all(row["names"] is not None or row["problem"] for row in rows)

        self._until(is_ready, "the lists are not compiled")

    def wait_until_decided(self) -> None:
        """Wait until all that is queued has been decided and recorded, or is held for an answer.

        Raises:
            UnsettledError: something else waits in the queue.

        """
        try:
            self._until(self._is_decided, "packets wait that nobody decides")
        except TimeIsOverError as error:
            raise UnsettledError(str(error)) from None
        # Some are written late: those of programs that are looked at for the first time.
        deadline = Deadline(_LATE_S)
        while self.unrecorded() > 0 and deadline.left_s():
            self.wait_a_moment(deadline.left_s())

    def unrecorded(self) -> int:
        """Return how many packets the daemon has given a verdict and not recorded."""
        status = self.status()
        return self._since.unrecorded(status.counters, self.firewall.records)

    def _is_decided(self) -> bool:
        """Tell whether the daemon is idle: it was so in two looks, and wrote no record between."""
        first, records = self.status(), len(self.firewall.records)
        second = self.status()
        if not (_is_idle(first) and _is_idle(second)):
            return False
        is_same = first.counters[Counter.PACKETS] == second.counters[Counter.PACKETS]
        return is_same and records == len(self.firewall.records)

    def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        # Each look is an answer of the daemon's, which makes those wait who ask too often.
        deadline = Deadline(SETTLE_TIMEOUT_S)
        while not is_so():
            if not deadline.left_s():
                raise TimeIsOverError(f"{otherwise} within {SETTLE_TIMEOUT_S:g} s")
            self.wait_a_moment(deadline.left_s())


def _is_idle(status: Status) -> bool:
    """Tell whether each packet in the queue is one that the daemon has taken and holds."""
    held = counting.without_verdict(status.counters)
    return status.queue_waiting == held and bool(held) <= bool(status.questions)
