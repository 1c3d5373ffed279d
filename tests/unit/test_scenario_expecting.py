"""What is expected of records, packets, counters and programs, and what is told otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from nfsnitch.adapters.rulefile.problems import Position
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.process import Finished
from nfsnitch.lab.scenario import counting, invariants, values
from nfsnitch.lab.scenario.capture import Frame
from nfsnitch.lab.scenario.expecting import (
    expect_arrived,
    expect_counter,
    expect_end,
    expect_record,
)
from nfsnitch.lab.scenario.model import (
    ExpectArrived,
    ExpectCounter,
    ExpectEnd,
    ExpectRecord,
    Network,
    Range,
    Scenario,
    Step,
)
from nfsnitch.lab.scenario.outcomes import UnmetError
from nfsnitch.lab.scenario.scene import Scene
from nfsnitch.lab.waiting import TimeIsOverError
from nfsnitch.protocol import Status

HERE = Position(0, "a.yaml", 3, 5)
ONE = Range(1, 1, "1")
NONE = Range(0, 0, "0")
SOME = Range(1, math.inf, ">= 1")
SECOND_NS = 1_000_000_000
RECORD: Json = {
    "verdict": "accept",
    "rule": "web",
    "exe": "/usr/bin/curl",
    "exe_deleted": False,
    "args": ["curl", "http://192.0.2.1/"],
    "parents": [{"exe": "/usr/bin/bash", "pid": 7}],
    "proto": "tcp",
    "daddr": "192.0.2.1",
    "dport": 80,
    "sport": {"unknown": "this protocol has no ports"},
    "held_ms": 3.5,
    "list": None,
}


@dataclass
class Stage:
    """What a stage has seen; *later* happens one by one whenever something is waited for."""

    records: list[Json] = field(default_factory=list)
    passed: list[Frame] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    later: list[Callable[[], None]] = field(default_factory=list)
    settled: int = 0

    @property
    def captures(self) -> Stage:
        return self

    @property
    def daemon(self) -> Stage:
        return self

    def frames(self, host: str, interface: str | None, since: int) -> list[Frame]:
        assert interface is None
        return [each for each in self.passed if each.host == host and each.number >= since]

    def settle(self) -> None:
        self.settled += 1

    def wait(self, timeout_s: float) -> None:
        assert timeout_s >= 0
        if self.later:
            self.later.pop(0)()

    wait_for_record = wait_for_frame = wait_a_moment = wait

    def grown(self) -> dict[str, int]:
        return self.counters

    def figure(self, name: str) -> int:
        return self.counters[name]


class Output:
    """A program's output."""

    def __init__(self, said: str) -> None:
        self._said = said

    def text(self) -> str:
        return self._said


@dataclass
class Child:
    """A program that runs."""

    stdout: Output
    stderr: Output


@dataclass
class Play:
    """A scene without files or programs."""

    stage: Stage
    ended: dict[str, Finished] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    is_settled: bool = False

    @property
    def is_still(self) -> bool:
        return self.is_settled and not self.children

    @property
    def records(self) -> list[Json]:
        return self.stage.records

    def value(self, value: Any) -> Any:  # noqa: ANN401  as a scene's
        return value.replace("$good", "/usr/bin/curl") if isinstance(value, str) else value

    text = value

    def finish(self, name: str, timeout_s: float) -> Finished:
        if name not in self.ended:
            raise TimeIsOverError(f"{name} still runs after {timeout_s} s")
        return self.ended[name]


def scene(stage: Stage | None = None) -> Scene:
    return cast("Scene", Play(stage or Stage()))


def record_of(count: Range = ONE, **fields: Any) -> ExpectRecord:  # noqa: ANN401
    return ExpectRecord(HERE, fields, count, SECOND_NS // 100)


def unmet(expect: Callable[[], None]) -> UnmetError:
    """Return what is raised."""
    with pytest.raises(UnmetError) as raised:
        expect()
    return raised.value


@pytest.mark.parametrize(
    "wanted",
    [
        {"dport": "80"},
        {"dport": Range(80, math.inf, ">= 80")},
        {"held_ms": Range(3, 4, "3..4")},
        {"verdict": "allow"},
        {"verdict": "accept"},
        {"exe": "*/curl"},
        {"exe": "$good"},
        {"exe_deleted": "false"},
        {"args": ["curl", "*192.0.2.1*"]},
        {"parents.0.exe": "/usr/bin/bash"},
        {"parents": [{"exe": "*bash"}]},
        {"sport": {"unknown": "*"}},
        {"sport": {"unknown": "this protocol *"}},
        {"list": "null"},
    ],
)
def test_a_record_is_found_by_its_values(wanted: Json) -> None:
    expect_record(scene(Stage([RECORD])), record_of(**wanted))


@pytest.mark.parametrize(
    ("wanted", "instead"),
    [
        ({"dport": "81"}, "dport 80"),
        ({"dport": "eighty"}, "dport 80"),
        ({"dport": Range(81, math.inf, ">= 81")}, "dport 80"),
        ({"dport": {"unknown": "*"}}, "dport 80"),
        ({"verdict": "deny"}, "verdict accept"),
        ({"exe": "curl"}, "exe /usr/bin/curl"),
        ({"exe_deleted": "1"}, "exe_deleted false"),
        ({"exe_deleted": Range(0, 1, "0..1")}, "exe_deleted false"),
        ({"args": ["curl"]}, 'args ["curl", "http://192.0.2.1/"]'),
        ({"parents.1.exe": "*"}, "parents.1.exe (not there)"),
        ({"sport": "5"}, 'sport {"unknown": "this protocol has no ports"}'),
        ({"host": "*"}, "host (not there)"),
        ({"rule": "w"}, "rule web"),
    ],
)
def test_a_record_that_is_not_there_is_missed_and_what_is_there_is_told(
    wanted: Json, instead: str
) -> None:
    told = unmet(lambda: expect_record(scene(Stage([RECORD])), record_of(**wanted)))
    assert told.expected.startswith("1 record with ")
    assert instead in told.seen.splitlines()[1]


def test_the_records_most_alike_are_told_first_and_hostile_text_is_made_harmless() -> None:
    other = RECORD | {"dport": 81, "verdict": "drop", "rule": "x", "exe": "/opt/\x1b[31m\n"}
    stage = Stage([other] * 9 + [RECORD | {"rule": "dns"}])
    told = unmet(lambda: expect_record(scene(stage), record_of(rule="web", verdict="allow")))
    lines = told.seen.splitlines()
    assert lines[0] == "10 records, the most alike first"
    assert lines[1] == "accept tcp to 192.0.2.1 80 by /usr/bin/curl: rule dns"
    assert r"/opt/\x1b[31m\x0a" in lines[2]
    assert lines[-1] == "… and 2 more"


def test_too_many_records_are_too_many_at_once_and_too_few_are_waited_for() -> None:
    told = unmet(lambda: expect_record(scene(Stage([RECORD] * 2)), record_of(dport="80")))
    assert "this one is like it" in told.seen

    stage = Stage()
    stage.later = [lambda: stage.records.append(RECORD)]
    expect_record(scene(stage), record_of(dport="80"))
    assert stage.settled == 1  # whether there is a second one


def test_nobody_waits_for_things_to_settle_where_more_would_do_no_harm() -> None:
    stage = Stage([RECORD])
    expect_record(scene(stage), record_of(SOME, dport="80"))
    assert stage.settled == 0


def test_what_has_settled_is_not_waited_for_again_before_anything_is_done() -> None:
    play = scene(Stage([RECORD]))
    expect_record(play, record_of(dport="80"))
    expect_record(play, record_of(dport="81", count=NONE))

    assert cast("Stage", play.stage).settled == 1


def test_where_a_program_runs_or_something_had_to_be_waited_for_it_settles_anew() -> None:
    stage = Stage([RECORD])
    running = Play(stage, children={"first": Child(Output(""), Output(""))})
    for _ in range(2):
        expect_record(cast("Scene", running), record_of(dport="80"))
    assert stage.settled == 2

    play = scene(stage)
    expect_record(play, record_of(dport="80"))
    stage.later.append(lambda: stage.records.append(RECORD | {"dport": 81}))
    expect_record(play, record_of(dport="81"))
    assert stage.settled == 4


def test_that_there_is_none_is_said_only_after_all_has_settled() -> None:
    class Late(Stage):
        def settle(self) -> None:
            self.records.append(RECORD)

    told = unmet(lambda: expect_record(scene(Late()), record_of(NONE, dport="80")))
    assert told.expected == "0 records with dport 80"
    stage = Stage([RECORD])
    expect_record(scene(stage), record_of(NONE, dport="81"))
    assert stage.settled == 1


SYN = bytes.fromhex(
    "02000000000c02000000000b0800"  # Ethernet
    "45000028000100004006f47ec0000202c6336402"  # IPv4, 192.0.2.2 to 198.51.100.2
    "9c400050000000000000000050022000" + "5a5d0000"  # TCP, 40000 to 80, SYN
)


def frames(ways: str) -> list[Frame]:
    """Return a SYN for each letter: i for one that came, o for one that left."""
    return [Frame(n, n, "server", "eth0", way == "o", SYN) for n, way in enumerate(ways)]


def packet(count: Range, *, sent: bool = False, dport: str = "80") -> ExpectArrived:
    return ExpectArrived(
        HERE, "server", None, {"TCP": {"dport": dport}}, count, SECOND_NS // 100, sent
    )


def test_packets_are_those_that_came_or_those_that_left() -> None:
    stage = Stage(passed=frames("iio"))
    expect_arrived(scene(stage), packet(Range(2, 2, "2")))
    expect_arrived(scene(stage), packet(ONE, sent=True))
    told = unmet(lambda: expect_arrived(scene(stage), packet(ONE)))
    assert told.expected == "1 packet arrived at server: TCP(dport 80)"
    assert told.seen.splitlines()[0] == "2 such of 2 packets"
    assert "192.0.2.2" in told.seen


def test_a_packet_that_comes_late_is_waited_for_and_one_that_does_not_come_is_missed() -> None:
    stage = Stage()
    stage.later = [lambda: stage.passed.extend(frames("i"))]
    expect_arrived(scene(stage), packet(ONE))
    told = unmet(lambda: expect_arrived(scene(stage), packet(SOME, dport="81")))
    assert told.seen.startswith("0 such of 1 packet\n")
    expect_arrived(scene(stage), packet(NONE, dport="81"))


def test_a_counter_has_grown_by_so_much() -> None:
    stage = Stage(counters={"accepted": 2, "rejected": 0})
    expect_counter(scene(stage), ExpectCounter(HERE, "accepted", Range(2, 2, "2"), SECOND_NS))
    wanted = ExpectCounter(HERE, "rejected", ONE, SECOND_NS // 100)
    told = unmet(lambda: expect_counter(scene(stage), wanted))
    assert told.expected == "counter rejected to grow by 1"
    assert told.seen == "it grew by 0; what has grown: accepted 2"


def end(status: Range | None = None, stdout: str | None = None) -> ExpectEnd:
    return ExpectEnd(HERE, "first", status, stdout, None, SECOND_NS)


def test_how_a_program_ends_is_looked_at() -> None:
    play = Play(Stage(), children={"first": Child(Output("hel"), Output("oh\x07\n"))})
    here = cast("Scene", play)
    told = unmet(lambda: expect_end(here, end()))
    assert (told.expected, told.seen) == (
        "first to end within 1 s",
        r"it still runs; stdout: hel; stderr: oh\x07",
    )

    play.ended["first"] = Finished(7, ("curl",), -9, "hello\nthere\n", "", 0.1)
    expect_end(here, end(Range(-9, -9, "-9"), "lo\nth"))
    told = unmet(lambda: expect_end(here, end(NONE, "bye")))
    assert told.expected == "first to end with status 0 and 'bye' on stdout"
    assert told.seen == "status -9; stdout: hello | there; nothing on stderr"

    told = unmet(lambda: expect_end(scene(), end()))
    assert told.seen == "no such program was started (there are: none)"


def scenario(*steps: Step, lets_by: Sequence[str] = ()) -> Scenario:
    return Scenario("a.yaml", "x", Network((), ()), "", (), {}, steps, lets_by=tuple(lets_by))


def status(held: int = 0, waiting: int = 0, **counters: int) -> Status:
    said: dict[str, Any] = dict.fromkeys((each.name for each in dataclasses.fields(Status)), 0)
    counts = {each.value: 0 for each in Counter} | counters
    return Status(**(said | {"counters": counts, "held_flows": held, "queue_waiting": waiting}))


def broken(play: Scenario, now: Status, unrecorded: int = 0) -> list[str]:
    found = invariants.broken(play, now, now.counters, unrecorded)
    return [f"{each.expected}: {each.seen}" for each in found]


def test_each_packet_gets_one_verdict_and_one_record() -> None:
    assert broken(scenario(), status(packets=3, accepted=1, dropped=1, rejected=1)) == []
    (told,) = broken(scenario(), status(packets=3, accepted=1))
    assert "2 packets have none" in told
    (told,) = broken(scenario(), status(packets=1, accepted=2))
    assert "1 packets have more than one" in told
    (told,) = broken(scenario(), status(packets=1, accepted=1), unrecorded=1)
    assert told.startswith("a record of each verdict: of 1 packets no record tells")


@pytest.mark.parametrize("name", invariants.LOSSES)
def test_nothing_is_let_by_but_what_the_scenario_names(name: str) -> None:
    assert broken(scenario(lets_by=[name]), status(**{name: 2})) == []
    (told,) = broken(scenario(), status(**{name: 2}))
    assert told.startswith(f"counter {name} to stay as it was (or lets_by: [{name}]): it grew by 2")


def test_nobody_is_held_at_the_end_unless_that_is_expected_last() -> None:
    now = status(held=1, waiting=1, packets=1)
    held, nobody = (ExpectCounter(HERE, "held_flows", count, SECOND_NS) for count in (ONE, NONE))
    assert broken(scenario(nobody, held), now) == []
    for steps in ((), (held, nobody)):
        (told,) = broken(scenario(*steps), now)
        assert told.startswith("nobody held at the end")


def test_counters_grow_over_daemons_and_the_kernels_own_over_those_that_were_killed() -> None:
    growth = counting.Growth({"accepted": 5, "unheard": 1})
    growth.killed({"accepted": 7, "unheard": 1})
    assert growth.gone() == {"accepted": 2}
    assert growth.of({"accepted": 1, "unheard": 4}) == {"accepted": 3, "unheard": 3}
    growth.stopped({"accepted": 2, "unheard": 4})
    assert growth.of({"accepted": 1, "unheard": 0}) == {"accepted": 5, "unheard": 3}


def test_the_last_words_of_a_daemon_have_its_counters() -> None:
    said = "nfsnitch: stopped (accepted 1)\nnfsnitch: x\nnfsnitch: stopped (idle)\n"
    assert counting.last_words(said) == {}
    assert counting.last_words("nfsnitch: stopped (accepted 12, names-lost 3)") == {
        "accepted": 12,
        "names-lost": 3,
    }
    assert counting.last_words("nfsnitch: killed") is None


def test_packets_without_a_record_are_counted() -> None:
    nothing = {each.value: 0 for each in Counter}
    since = counting.Since(nothing | {"accepted": 4}, 1)
    rows = [{"packets": 9, "reason": "rule"}, {"packets": 2, "reason": "rule"}]
    grown = nothing | {"accepted": 8, "repeated": 1}
    assert since.unrecorded(grown, rows) == 1
    assert since.unrecorded(grown | {"repeated": 2}, rows) == 0
    assert since.unrecorded(grown | {"names-awaited": 1}, rows) == 0
    over = grown | {"held-limit": 2, "dropped": 2}
    assert since.unrecorded(over, rows) == 1
    assert since.unrecorded(over, [*rows, {"packets": 1, "reason": "held-limit"}]) == 1


def test_long_values_are_cut_where_they_are_told() -> None:
    assert len(values.text_of("x" * 1_000)) == 160
