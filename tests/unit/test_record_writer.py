"""When records are written: after a burst, but not long after."""

from __future__ import annotations

import json
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from builders import WALL_NS, flow, process
from nfsnitch import upkeep
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.owner import Attribution
from nfsnitch.core.record import Record
from nfsnitch.upkeep import RecordWriter

ALLOWED = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")


class Loop:
    """A loop that does what it is told to do later when the test says so."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        self.soon: list[Callable[[], None]] = []

    def call_later(self, _delay_s: float, callback: Callable[[], None]) -> None:
        """Take note."""
        self.later.append(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Take note."""
        self.soon.append(callback)

    def time_passes(self) -> None:
        """Do what was to be done later, and all that follows from it at once."""
        due, self.later = self.later, []
        for callback in due:
            callback()
        while self.soon:
            self.soon.pop(0)()


class Play:
    """A writer, its file and its loop."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.place = folder / "records"
        file = RecordFile(str(self.place))
        self.writer = RecordWriter(cast("AbstractEventLoop", self.loop), file)
        self.made = 0

    def record(self, number: int = 1) -> None:
        """Have so many records made by one look at the queue."""
        for _ in range(number):
            self.made += 1
            who = (process(), Attribution.FLOW_MAP, 1, "eth0")
            self.writer.add(Record(WALL_NS, ALLOWED, 0, self.made, flow(), *who))
        self.writer.plan()

    def written(self) -> int:
        """Return how many are in the file; they are in the order in which they were made."""
        numbers = [json.loads(line)["packets"] for line in self.place.read_text().splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))
        return len(numbers)


@pytest.fixture(name="play")
def fixture_play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_records_of_a_burst_are_written_when_it_is_over(play: Play) -> None:
    play.record(30)
    play.record(30)
    play.loop.time_passes()
    assert play.written() == 0
    play.loop.time_passes()
    assert play.written() == 60
    assert not play.loop.later


def test_a_record_alone_waits_for_nothing_more(play: Play) -> None:
    play.record()
    play.loop.time_passes()
    assert play.written() == 1


def test_packets_that_go_on_coming_put_it_off_for_so_long_and_no_longer(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_RECORDS_DELAYS", 3)
    play.record()
    for _ in range(3):
        play.record()
        play.loop.time_passes()
        assert play.written() == 0
    play.record()
    play.loop.time_passes()
    assert play.written() == 5


def test_a_crowd_of_records_is_written_while_packets_come(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_CROWD", 50)
    play.record(60)
    assert play.written() == 0
    play.record(60)
    assert 0 < play.written() < 120
    play.loop.time_passes()
    play.loop.time_passes()
    assert play.written() == 120


def test_while_packets_go_on_coming_few_are_written_in_each_round(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_RECORDS_DELAYS", 0)
    play.record(500)
    (write,) = play.loop.later
    write()
    in_one_round, before = play.written(), play.written()
    while play.loop.soon:
        play.record()  # a packet
        play.loop.soon.pop(0)()
        assert play.written() - before <= 16
        before = play.written()

    assert in_one_round > 16
    assert before > 500


def test_between_packets_few_are_written_unless_more_gather_than_that(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_CROWD", 600)
    play.record(1)
    play.record(600)
    few = play.written()
    play.record(600 + few)

    assert 0 < few <= 16
    assert play.written() - few > 4 * few


def test_however_many_come_at_once_none_is_dropped(play: Play) -> None:
    for _ in range(100):
        play.record(256)  # as many as one look at the queue may bring

    for _ in range(3):
        play.loop.time_passes()
    assert play.written() == 25_600
