"""Reloads: one set of files, one generation at a time, and nothing changed by what is wrong."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nfsnitch import reload as reload_module
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action
from nfsnitch.core.events import Instant
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.reload import (
    Loaded,
    NotLoaded,
    Reloaded,
    Reloader,
    RulesRefusedError,
    load_first,
    load_whole,
)

GOOD = "rules: [{name: one, action: allow}]\n"
BAD = "rules: [{name: one, action: alow, dprt: 1}]\n"


def rules_named(*names: str) -> Ruleset:
    return Ruleset(tuple(Rule(name, Action.ALLOW, (), "test:1") for name in names))


@dataclass
class Play:
    """A reloader, what it reads, and what it does with it."""

    to_read: list[Ruleset | str] = field(default_factory=list)
    """What each reading finds: rules, or what is wrong. The last one stays."""
    in_force: list[tuple[Ruleset, int]] = field(default_factory=list)
    reviews: int = 0
    now_ns: int = 1_000
    cut: int = 0
    readings: int = 0
    counters: collections.Counter[Counter] = field(default_factory=collections.Counter)
    reads: threading.Event = field(default_factory=threading.Event)
    may_read: threading.Event = field(default_factory=threading.Event)
    first: Ruleset = field(default_factory=lambda: rules_named("first"))

    def __post_init__(self) -> None:
        """Let it read at once."""
        self.may_read.set()

    def load(self) -> Loaded | NotLoaded:
        self.reads.set()
        assert self.may_read.wait(10)
        found = self.to_read[min(self.readings, len(self.to_read) - 1)]
        self.readings += 1
        state = (("rules.yaml", 1, 2, 3, 4, self.readings),)
        return NotLoaded(found, state) if isinstance(found, str) else Loaded(found, state)

    async def review(self) -> int:
        self.reviews += 1
        await asyncio.sleep(0)
        return self.cut

    def reloader(self) -> Reloader:
        return Reloader(
            self.load,
            Loaded(self.first, ()),
            lambda ruleset, generation: self.in_force.append((ruleset, generation)),
            self.review,
            lambda: Instant(0, self.now_ns),
            self.counters,
        )


def test_what_was_read_is_put_in_force_and_reviewed_as_the_next_generation() -> None:
    play = Play([rules_named("a", "b"), rules_named("c")], cut=3)

    async def twice() -> tuple[Reloaded, Reloaded]:
        reloader = play.reloader()
        return await reloader.reload(), await reloader.reload()

    assert asyncio.run(twice()) == (Reloaded(2, 2, 3, None), Reloaded(3, 1, 3, None))
    assert play.in_force == [(rules_named("a", "b"), 2), (rules_named("c"), 3)]
    assert play.counters == {Counter.RELOADS: 2}


def test_what_is_wrong_changes_nothing_is_told_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    play = Play(["a.yaml:1:2: this\nb.yaml:3:4: and that", rules_named("good")])

    async def twice() -> tuple[Reloaded, Reloaded]:
        reloader = play.reloader()
        return await reloader.reload(), await reloader.reload()

    with caplog.at_level(logging.INFO):
        refused, accepted = asyncio.run(twice())

    assert refused == Reloaded(1, 1, 0, "a.yaml:1:2: this\nb.yaml:3:4: and that")
    assert accepted == Reloaded(2, 1, 0, None)
    assert play.in_force == [(rules_named("good"), 2)]
    assert play.reviews == 1
    assert play.counters == {Counter.RELOADS: 1, Counter.RELOADS_REFUSED: 1}
    assert "  a.yaml:1:2: this" in caplog.messages
    assert "  b.yaml:3:4: and that" in caplog.messages


def test_who_asks_while_files_are_read_shares_one_more_reading_after_it() -> None:
    play = Play([rules_named("old"), rules_named("new")])

    async def several() -> list[Reloaded]:
        play.may_read.clear()
        reloader = play.reloader()
        first = asyncio.create_task(reloader.reload())
        assert await asyncio.to_thread(play.reads.wait, 10)
        later = [asyncio.create_task(reloader.reload()) for _ in range(20)]
        await asyncio.sleep(0)
        play.may_read.set()
        return [await first, *(await asyncio.gather(*later))]

    first, *later = asyncio.run(several())

    assert first.generation == 2
    assert set(later) == {Reloaded(3, 1, 0, None)}  # what they had changed has been read
    assert play.readings == 2


def test_the_loop_goes_on_while_files_are_read_and_gets_its_turn_soon() -> None:
    play = Play([rules_named("new")])
    intervals: list[float] = []

    async def meanwhile() -> None:
        play.may_read.clear()
        reloading = asyncio.create_task(play.reloader().reload())
        for _ in range(10):
            await asyncio.sleep(0)
            intervals.append(sys.getswitchinterval())
        play.may_read.set()
        await reloading
        intervals.append(sys.getswitchinterval())

    usual = sys.getswitchinterval()
    asyncio.run(meanwhile())

    assert min(intervals) < usual / 5
    assert intervals[-1] == usual


def test_a_reload_that_its_asker_gives_up_goes_on_for_the_others() -> None:
    play = Play([rules_named("new")])

    async def one_gives_up() -> Reloaded:
        play.may_read.clear()
        reloader = play.reloader()
        impatient = asyncio.create_task(reloader.reload())
        patient = asyncio.create_task(reloader.reload())
        await asyncio.sleep(0)
        impatient.cancel()
        play.may_read.set()
        return await patient

    assert asyncio.run(one_gives_up()) == Reloaded(2, 1, 0, None)


def test_the_service_manager_hears_when_it_begins_and_when_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for found in (rules_named("new"), "x.yaml:1:1: wrong\nx.yaml:2:1: too"):
            asyncio.run(Play([found]).reloader().reload())
        heard = [manager.recv(1_000).decode() for _ in range(4)]

    begins = heard[0].split("\n")
    assert begins[0] == "RELOADING=1"
    assert begins[1].startswith("MONOTONIC_USEC=")
    assert heard[1] == "READY=1\nSTATUS=generation 2 in force: 1 rule, 0 flows cut"
    assert heard[3] == (
        "READY=1\nSTATUS=reload refused, generation 1 stays in force: x.yaml:1:1: wrong"
    )


@dataclass(frozen=True)
class Scheduled(Ruleset):
    """Rules that say something else from a time on."""

    change_ns: int = 0

    def next_change_ns(self, now: Instant) -> int | None:
        return self.change_ns if now.wall_ns < self.change_ns else None


FAR_NS = 2**62


def due_at(play: Play, reloader: Reloader, *times_ns: int) -> list[bool]:
    """Return at which of these times the rules may say something else."""
    due = []
    for play.now_ns in times_ns:
        due.append(reloader.is_due())
    return due


def test_rules_whose_time_comes_are_due_then_and_when_the_clock_was_set_back() -> None:
    play = Play(first=Scheduled(change_ns=FAR_NS))
    reloader = play.reloader()

    assert due_at(play, reloader, 1_000, FAR_NS - 1, FAR_NS, 999) == [False, False, True, True]


@pytest.mark.parametrize("first", [Ruleset(), Scheduled(change_ns=1)])
def test_rules_that_do_not_change_by_themselves_are_never_due(first: Ruleset) -> None:
    play = Play(first=first)
    reloader = play.reloader()

    assert due_at(play, reloader, FAR_NS, 0) == [False, False]


def test_rules_whose_time_has_come_are_applied_anew_and_planned_anew() -> None:
    play = Play(first=Scheduled(change_ns=FAR_NS), cut=2)
    reloader = play.reloader()

    play.now_ns = 500  # somebody has set the clock back

    assert asyncio.run(reloader.apply_again()) == 2

    assert play.in_force == [(play.first, 1)]
    assert due_at(play, reloader, 500, FAR_NS) == [False, True]


def changing(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[int], object]
) -> list[Ruleset | str]:
    """Let *change* happen while the files are read, each time; returns what each reading found."""
    found: list[Ruleset | str] = []
    really = reload_module._load  # noqa: SLF001

    def load(paths: list[Path]) -> Ruleset | str:
        found.append(really(paths))
        change(len(found))
        return found[-1]

    monkeypatch.setattr(reload_module, "_load", load)
    monkeypatch.setattr(reload_module, "_BETWEEN_READINGS_S", 0)
    return found


def test_files_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD, encoding="utf-8")
    later = GOOD.replace("one", "another")
    found = changing(monkeypatch, lambda n: n == 1 and path.write_text(later, encoding="utf-8"))

    loaded = load_whole([tmp_path])

    assert len(found) == 2
    assert isinstance(loaded, Loaded)
    assert [each.name for each in loaded.ruleset.rules] == ["another"]


def test_a_file_that_comes_while_the_others_are_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.yaml").write_text(GOOD, encoding="utf-8")
    second = tmp_path / "2.yaml"
    text = GOOD.replace("one", "two")
    changing(monkeypatch, lambda n: n == 1 and second.write_text(text, encoding="utf-8"))

    loaded = load_whole([tmp_path])

    assert isinstance(loaded, Loaded)
    assert [each.name for each in loaded.ruleset.rules] == ["one", "two"]


def test_files_that_never_keep_still_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD, encoding="utf-8")
    changing(monkeypatch, lambda n: os.utime(path, ns=(n, n)))

    loaded = load_whole([path])

    assert isinstance(loaded, NotLoaded)
    assert "rename it into place" in loaded.problem


def test_everything_that_is_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(BAD, encoding="utf-8")

    with pytest.raises(RulesRefusedError) as refused:
        load_first([path])

    assert len(str(refused.value).split("\n")) == 2


def test_a_failure_that_nobody_foresaw_leaves_the_rules_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Ruleset:
        raise MemoryError

    monkeypatch.setattr(reload_module, "load_apart", fails)

    loaded = load_whole([tmp_path])

    assert isinstance(loaded, NotLoaded)
    assert "MemoryError" in loaded.problem
