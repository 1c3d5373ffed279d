"""What makes the daemon read its rules again, with a real loop, real files and real signals."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfsnitch.adapters.clock import Clock
from nfsnitch.core.counters import Counter
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.reload import Reloader, load_first, load_whole
from nfsnitch.triggers import ReloadTriggers

TEXT = "rules: [{name: NAME, action: allow}]\n"
PATIENCE_S = 10


class Daemon:
    """As much of one as reloads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("one")
        self.loop = asyncio.new_event_loop()
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.in_force: list[str] = []
        self.problems: list[BaseException] = []
        self.reviews = 0
        self.review_problem: Exception | None = None
        loaded = load_first([path])
        self.reloader = Reloader(
            lambda: load_whole([path]),
            loaded,
            self._put_in_force,
            self._review,
            Clock().now,
            self.counters,
        )
        self.answers = path.with_name("answers.yaml")
        self.answers_looked_at = 0
        files = ([path], self.answers)
        heard = (self.look_at_answers, self._failed)
        self.triggers = ReloadTriggers(self.loop, self.reloader, files, *heard)

    def look_at_answers(self) -> None:
        """Count."""
        self.answers_looked_at += 1

    def write(self, name: str) -> None:
        new = self.path.with_name("new")
        new.write_text(TEXT.replace("NAME", name), encoding="utf-8")
        new.rename(self.path)

    def run_until(self, done: Callable[[], bool]) -> bool:
        """Run until something is so; whether it came to be."""

        async def run() -> bool:
            until_s = self.loop.time() + PATIENCE_S
            while not done() and self.loop.time() < until_s:  # noqa: ASYNC110  of anything
                await asyncio.sleep(0.005)
            return done()

        return self.loop.run_until_complete(run())

    def _put_in_force(self, ruleset: Ruleset, generation: int) -> None:
        self.in_force.append(f"{generation} {ruleset.rules[0].name}")

    async def _review(self) -> int:
        self.reviews += 1
        if self.review_problem is not None:
            raise self.review_problem
        return 0

    def _failed(self, problem: BaseException) -> None:
        self.problems.append(problem)


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "rules.yaml")
    yield daemon
    daemon.triggers.close()
    daemon.loop.close()


def test_a_signal_has_the_rules_read_though_no_file_has_changed(daemon: Daemon) -> None:
    os.kill(os.getpid(), signal.SIGHUP)

    assert daemon.run_until(lambda: daemon.reviews == 1)
    assert daemon.in_force == ["2 one"]


def test_a_changed_file_is_read_once_however_many_events_that_makes(daemon: Daemon) -> None:
    for number in range(20):
        daemon.write(f"version{number}")

    assert daemon.run_until(lambda: daemon.reviews == 1)
    daemon.triggers.reload()  # that comes behind whatever else is still to come
    assert daemon.run_until(lambda: daemon.reviews == 2)
    assert daemon.in_force == ["2 version19", "3 version19"]


def test_a_changed_file_of_answers_is_looked_at_and_the_rules_are_not_read_again(
    daemon: Daemon,
) -> None:
    assert daemon.run_until(lambda: daemon.answers_looked_at == 1)
    daemon.answers.write_text("rules: []\n", encoding="utf-8")

    assert daemon.run_until(lambda: daemon.answers_looked_at == 2)
    assert daemon.in_force == []


def test_a_file_that_changed_between_its_reading_and_the_start_of_the_watch_is_read(
    tmp_path: Path,
) -> None:
    first = Daemon(tmp_path / "rules.yaml")
    first.triggers.close()
    first.write("meanwhile")
    files = ([first.path], first.answers)
    heard = (first.look_at_answers, first.problems.append)
    triggers = ReloadTriggers(first.loop, first.reloader, files, *heard)

    assert first.run_until(lambda: first.reviews == 1)
    assert first.in_force == ["2 meanwhile"]
    triggers.close()
    first.loop.close()


def test_a_bad_file_is_refused_once_and_read_again_when_it_is_mended(daemon: Daemon) -> None:
    daemon.path.write_text("rules: [", encoding="utf-8")
    assert daemon.run_until(lambda: daemon.counters[Counter.RELOADS_REFUSED] == 1)

    daemon.write("mended")

    assert daemon.run_until(lambda: daemon.reviews == 1)
    assert daemon.in_force == ["2 mended"]
    assert daemon.counters[Counter.RELOADS_REFUSED] == 1


def test_rules_whose_time_has_come_are_applied_at_the_next_tick(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.triggers.tick()
    monkeypatch.setattr(daemon.reloader, "is_due", lambda: not daemon.reviews)
    daemon.triggers.tick()

    assert daemon.run_until(lambda: daemon.reviews == 1)
    assert daemon.in_force == ["1 one"]


def test_a_failure_that_nobody_foresaw_is_told_to_the_daemon(daemon: Daemon) -> None:
    daemon.review_problem = RuntimeError("for the test")
    daemon.triggers.reload()

    assert daemon.run_until(lambda: bool(daemon.problems))
    assert str(daemon.problems[0]) == "for the test"


def test_a_stop_does_not_wait_for_a_reload_and_leaves_the_signal_to_others(
    daemon: Daemon,
) -> None:
    daemon.triggers.reload()

    daemon.triggers.close()

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert daemon.in_force == []


def test_a_reload_that_somebody_else_asked_for_does_not_come_in_force_after_the_stop(
    daemon: Daemon,
) -> None:
    async def ask() -> asyncio.Task[object]:
        asked: asyncio.Task[object] = asyncio.create_task(daemon.reloader.reload())
        while not daemon.reloader.will_read:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return asked

    asked = daemon.loop.run_until_complete(ask())
    daemon.triggers.close()
    daemon.loop.run_until_complete(asyncio.wait([asked]))
    daemon.loop.run_until_complete(asyncio.sleep(0.2))  # the thread that reads has long ended

    assert asked.cancelled()
    assert daemon.in_force == []
