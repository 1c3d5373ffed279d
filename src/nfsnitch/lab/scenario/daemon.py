"""The daemon of a stage: started and stopped, asked, and counted from where a scenario began."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from nfsnitch.adapters.rulefile.problems import closest, quoted
from nfsnitch.control_client import ControlError
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import DAEMON, STOP_TIMEOUT_S, Firewall
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.scenario import counting
from nfsnitch.lab.scenario.model import ExpectCounter, Scenario
from nfsnitch.lab.scenario.talk import Talk
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
_LOOK_S = 0.02 * min(PATIENCE, 5)
"""Between two looks at what nobody tells of; where looking takes long, they are fewer."""
_ROUNDS = 3
"""So often all that is under way is waited for, where each time it leads to more."""
_LATE_S = 4.0
"""Longer than the daemon lets records wait (`late_records`)."""
JUDGED = "judged"
"""A counter of the ruleset: packets that it picked for the queue."""
_Kind = TypeVar("_Kind", bound=Reply)


class _Look(NamedTuple):
    """What an idle daemon said."""

    status: Status
    work: tuple[int, int]
    """How many packets it has taken in all, and how many records there are."""


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
        self._looked_at = 0
        self._since = counting.Since({}, 0)
        self._last: dict[str, int] = {}
        """The counters as they were told last."""
        self._counts_judged = False
        self._has_lists = False
        self._talk = Talk(lambda: Path(socket_path(world.netns_inode(CLIENT))))

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
        records = self.firewall.records
        self._looked_at = len(records)
        return records[self._first_record :]

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
                self._end(signal.SIGUSR2)
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
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        """End it by a signal; SIGUSR2 has it leave its eBPF programs to the next one."""
        if self.is_paused:
            self.resume()
        self._talk.close()
        if self.is_running:
            self.firewall.stop(number)

    def write_rules(self, text: str) -> None:
        """Write the rule file, at one stroke."""
        new = self.rules_file.with_name("rules.new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.rules_file)
        self._has_lists = "lists:" in text

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
        try:
            return self._talk.ask(request, kind, _ANSWER_TIMEOUT_S * PATIENCE)
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
        """Wait for another record than `records` has returned last.

        So many seconds (not multiplied by `PATIENCE`) at the most.
        """
        self._wait_for_record(timeout_s, self._looked_at)

    def _wait_for_record(self, timeout_s: float, known: int) -> None:
        if not self.is_running:
            time.sleep(min(timeout_s, _LOOK_S))  # of a daemon that is gone nothing can be heard
            return
        with suppress(LabError):
            self.firewall.wait_for_records(lambda _: True, 1, timeout_s / PATIENCE, start=known)

    def wait_a_moment(self, timeout_s: float) -> None:
        """Wait for a record or a moment: what counters do is not told by anybody."""
        self._wait_for_record(min(timeout_s, _LOOK_S), len(self.firewall.records))

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
        self.is_spoilt = bool(self._options)  # what was killed has begun anew
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

    def revoke_answers(self, status: Status) -> None:
        """Take back all rules that answers have made, of which *status* says how many there are."""
        if not status.lasting_answers and not status.temporary_answers:
            return
        for kind in ("lasting", "temporary"):
            for row in self.ask(RulesRequest(kind, 0), Rules).rows:
                self.ask(RevokeRequest(row["name"]), Revoked)

    def _wait_for_lists(self) -> None:
        """Wait until all lists are compiled that the rules use; one that cannot be is no reason."""
        if not self._has_lists:
            return

        def is_ready() -> bool:
            rows = self.ask(ListsRequest(0), Lists).rows
            return all(row["names"] is not None or row["problem"] for row in rows)

        self._until(is_ready, "the lists are not compiled")

    def settle(self, arrive: Callable[[], None]) -> Status:
        """Wait until all that is under way has been decided and recorded, or is held for an answer.

        *arrive* returns once all that was sent has arrived, and been answered. The daemon was idle
        before and after that, and decided nothing between. Returns what it said then.

        Raises:
            UnsettledError: packets wait that it neither decides nor holds.
            LabError: *arrive* fails, or the daemon does not answer.

        """
        deadline = Deadline(SETTLE_TIMEOUT_S)
        before, now = None, self._when_idle(deadline)
        rounds = 0
        while before is None or before.work != now.work:
            if not deadline.left_s():
                raise UnsettledError(f"it is never idle for long within {SETTLE_TIMEOUT_S:g} s")
            # Who goes on sending is not waited for: then two looks between which nothing was done.
            if rounds < _ROUNDS:
                arrive()
                rounds += 1
            before, now = now, self._when_idle(deadline)
        return self._when_recorded(now.status)

    def unrecorded(self, status: Status) -> int:
        """Return how many packets the daemon has given a verdict and not recorded."""
        return self._since.unrecorded(status.counters, self.firewall.records)

    def _when_idle(self, deadline: Deadline) -> _Look:
        """Wait until each packet in the queue is one that the daemon has taken and holds."""
        while not _is_idle(status := self.status()):
            if not deadline.left_s():
                raise UnsettledError(
                    f"packets wait that nobody decides within {SETTLE_TIMEOUT_S:g} s"
                )
            self.wait_a_moment(deadline.left_s())
        return _Look(status, (status.counters[Counter.PACKETS], len(self.firewall.records)))

    def _when_recorded(self, status: Status) -> Status:
        """Wait for records that are written late: of programs that are seen for the first time."""
        deadline = Deadline(_LATE_S)
        while self.unrecorded(status) > 0 and deadline.left_s():
            self.wait_a_moment(deadline.left_s())
            status = self.status()
        return status

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
