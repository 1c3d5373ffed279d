"""The daemon of a stage: how it is asked, and how long it is waited for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control_play import STATUS
from nfsnitch.control_client import ControlError
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.scenario import daemon as module
from nfsnitch.lab.scenario.daemon import StageDaemon, UnsettledError
from nfsnitch.lab.scenario.model import Network, Scenario
from nfsnitch.lab.scenario.talk import Talk
from nfsnitch.lab.world import World
from nfsnitch.protocol import Status, StatusRequest
from scripted_daemon import ScriptedDaemon

SCENARIO = Scenario("a.yaml", "x", Network((), ()), "", (), {}, ())


class Firewall:
    """Writes no record by itself."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        self.records: list[Json] = []
        self.waited_from: list[int] = []
        self.child = SimpleNamespace(has_ended=lambda: False)

    def start(self) -> None:
        """Be there."""

    def wait_for_records(self, *_arguments: object, start: int) -> list[Json]:
        """Take note of how many records are not waited for."""
        self.waited_from.append(start)
        return []


class Daemon(StageDaemon):
    """Says one status after the other, and the last one again and again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(cast("World", SimpleNamespace(folder=folder)), None)
        self.says: list[Status] = [told()]
        self.enforce(SCENARIO, "")
        self.begin(SCENARIO)

    def status(self) -> Status:
        """Return the next one."""
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    @property
    def fake(self) -> Firewall:
        """Return what runs."""
        return cast("Firewall", self.firewall)


def told(packets: int = 0, waiting: int = 0) -> Status:
    """Return the status of a daemon that has accepted *packets*; it recorded none of them."""
    counters: dict[str, int] = dict.fromkeys((each.value for each in Counter), 0)
    counters |= {Counter.PACKETS: packets, Counter.ACCEPTED: packets, Counter.REPEATED: packets}
    return dataclasses.replace(STATUS, queue_waiting=waiting, questions=0, counters=counters)


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(module, "Firewall", Firewall)
    return Daemon(tmp_path)


def counted(calls: list[Any]) -> Callable[[], None]:
    """Return a function whose calls are counted."""
    return lambda: calls.append(None)


def test_a_record_that_came_since_the_last_look_is_not_waited_past(daemon: Daemon) -> None:
    daemon.fake.records.append({"packets": 1})
    assert len(daemon.records) == 1
    daemon.fake.records.append({"packets": 1})
    daemon.wait_for_record(5)

    assert daemon.fake.waited_from == [1]


@pytest.mark.parametrize(
    ("packets", "times"),
    [([3, 3], 1), ([3, 4, 4], 2), ([3, 4, 5, 5], 3)],
    ids=["idle", "more-came", "and-more"],
)
def test_it_has_settled_when_nothing_was_done_while_all_arrived(
    daemon: Daemon, packets: Sequence[int], times: int
) -> None:
    daemon.says = [told(each) for each in packets]
    arrived: list[None] = []
    status = daemon.settle(counted(arrived))

    assert len(arrived) == times
    assert status.counters[Counter.PACKETS] == packets[-1]


def test_who_goes_on_sending_is_not_waited_for_without_end(daemon: Daemon) -> None:
    daemon.says = [told(each) for each in (*range(9), 8)]
    arrived: list[None] = []
    daemon.settle(counted(arrived))

    assert 1 < len(arrived) < 8


def test_packets_that_nobody_decides_are_told_of(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_TIMEOUT_S", 0.0)
    daemon.says = [told(waiting=1)]
    with pytest.raises(UnsettledError, match="nobody decides"):
        daemon.settle(counted([]))


@pytest.fixture(name="scripted")
def fixture_scripted(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    scripted = ScriptedDaemon(tmp_path / "daemon.sock")
    yield scripted
    scripted.hang_up()


def test_many_questions_are_one_conversation_as_long_as_the_daemon_lives(
    scripted: ScriptedDaemon,
) -> None:
    connections: list[None] = []

    def path() -> Path:
        connections.append(None)
        return scripted.path

    talk = Talk(path)
    for _ in range(3):
        talk.ask(StatusRequest(), Status, 10)
    assert len(connections) == 1

    scripted.hang_up()
    with pytest.raises(ControlError):
        talk.ask(StatusRequest(), Status, 10)
    scripted.come_back()
    talk.ask(StatusRequest(), Status, 10)
    assert len(connections) == 3
    talk.close()
