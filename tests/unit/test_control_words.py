"""What people read of the daemon: status, records, counters."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import WALL_NS, flow, ping, process
from control_play import STATUS
from nfsnitch import cli
from nfsnitch.commands.counter_words import GROUPS
from nfsnitch.commands.record_line import record_line
from nfsnitch.commands.status import duration, status_lines
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import Bypass, Flow
from nfsnitch.core.opening import Opening
from nfsnitch.core.owner import Attribution, Kernel, Owner
from nfsnitch.core.record import Record
from nfsnitch.core.unknown import Unknown

BY_RULE = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
UNANSWERED = Decision(Verdict.DROP, Action.ASK, Reason.UNANSWERED, "asked")


@pytest.fixture(autouse=True)
def fixture_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(
    decision: Decision = BY_RULE,
    of_flow: Flow | Opening | Unknown | None = None,
    owner: Owner | None = None,
    **others: Any,  # noqa: ANN401
) -> str:
    """Return a record as people see it."""
    record = Record(
        WALL_NS + 123_000_000,
        decision,
        others.pop("held_ns", 0),
        others.pop("packets", 1),
        of_flow or flow(),
        owner or process(),
        Attribution.FLOW_MAP,
        4_026_531_840,
        "eth0",
        others.pop("rivals", ()),
    )
    return record_line(record.as_json() | others, colour=False)


def test_a_line_says_when_what_who_where_and_why() -> None:
    assert line(uid=0) == (
        "08:00:00.123  accept  /usr/bin/curl [4711] root  tcp → 192.0.2.1:80  rule 'web'"
    )


@pytest.mark.parametrize(
    ("shown", "part"),
    [
        (line(of_flow=flow("2001:db8::1", 443)), "tcp → [2001:db8::1]:443"),
        (line(of_flow=ping()), "icmp → 192.0.2.1  "),
        (line(of_flow=Unknown("too short")), "→ unknown (too short)"),
        (line(owner=Kernel("no socket")), "the kernel's own: no socket  tcp"),
        (line(owner=Unknown("it is gone")), "unknown program (it is gone)  tcp"),
        (line(uid=4_242_424_242), " uid 4242424242  "),
        (line(exe_deleted=True), "/usr/bin/curl (deleted) [4711]"),
        (line(exe={"unknown": "too long"}), "  curl [4711]"),
        (line(rivals=(process(), process())), "(or 2 others)"),
        (line(opener={"pid": 7, "exe": "/bin/sh"}), "(socket of /bin/sh [7])  tcp"),
        (line(of_flow=Opening(Bypass.PACKET, 3, 3)), "opens an AF_PACKET socket  rule 'web'"),
        (
            line(UNANSWERED, held_ns=30_000_000_000, packets=4),
            "rule 'asked', unanswered, held 30.0 s, 4 packets",
        ),
        (line(Decision(Verdict.DROP, Action.DENY, Reason.DEFAULT, None)), "  default"),
    ],
)
def test_a_line_says_what_is_not_ordinary(shown: str, part: str) -> None:
    assert part in shown


def test_the_verdict_has_a_colour_only_if_it_is_wanted() -> None:
    record = {"verdict": "drop"}

    assert "\x1b[31mdrop  \x1b[0m" in record_line(record, colour=True)
    assert "\x1b" not in record_line(record, colour=False)
    assert "\x1b" not in record_line({"verdict": "fly"}, colour=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("time", "verdict", "owner", "exe", "pid", "uid", "comm", "exe_deleted", "rivals", "proto")
MORE_FIELDS = ("daddr", "dport", "reason", "rule", "packets", "held_ms")


@given(
    st.dictionaries(
        st.sampled_from(FIELDS + MORE_FIELDS),
        VALUES | st.fixed_dictionaries({"unknown": st.text()}) | st.sampled_from(["process"]),
    )
)
def test_a_record_of_any_shape_is_one_line_that_cannot_write_to_the_terminal(
    record: dict[str, Any],
) -> None:
    assert record_line(record, colour=False).isprintable()


def test_every_counter_has_its_words_once() -> None:
    named = [counter for words in GROUPS.values() for counter in words]

    assert sorted(named) == sorted(Counter)


def test_a_status_says_the_rules_the_queue_and_what_was_counted() -> None:
    counters = STATUS.counters | {"packets": 1_234, "accepted": 1_000, "errors": 1, "new-one": 5}

    lines = list(status_lines(replace(STATUS, counters=counters), with_zeros=False))

    missing = "nothing is known yet of what is in ads"
    assert lines == [
        "nfsnitch 1.2.3 enforces in net:[4026531840], process 4711, up 2 h 5 min",
        "  rules     12 from /etc/nfsnitch/rules.yaml; generation 2",
        "  otherwise default ask, unattributed deny, unanswered deny, fail closed",
        "  attach    cgroup: nothing better is to be had",
        "  queue     7301 by nft; 3 of 32768 packets wait",
        "  cache     decisions are repeated in the kernel",
        "  held      1 of 16384 flows",
        "  mode      ask: held, and somebody is asked",
        "  asked     1 question (nfsnitch prompt)",
        "  answers   3 lasting in /var/lib/nfsnitch/answers.yaml, 1 temporary",
        "  names     3 names of addresses known (nfsnitch names)",
        "  lists     2 lists of names and networks (nfsnitch lists); " + missing,
        "  memory    31.2 MB",
        "  watchers  0",
        "",
        "decided",
        "  1234  packets                reached the worker",
        "  1000  accepted               packets went out",
        "",
        "lost, or refused without being judged",
        "     1  errors                 packets on which the daemon failed: dropped",
        "",
        "others",
        "     5  new-one",
    ]


def test_a_status_shows_counters_that_are_zero_when_asked_to() -> None:
    assert "nothing has been counted yet" in list(status_lines(STATUS, with_zeros=False))
    shown = "\n".join(status_lines(STATUS, with_zeros=True))
    assert all(f"  {counter.value} " in shown for counter in Counter)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (86_400 * 3 + 60, "3 d"),
        (86_400 * 3 + 3_600, "3 d 1 h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("command", ["status", "watch", "reload", "stop"])
def test_every_command_says_that_no_daemon_runs_and_exits_with_3(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = tmp_path / "none.sock"

    assert cli.main([command, "--socket", str(socket)]) == 3

    captured = capsys.readouterr()
    assert captured.err == f"nfsnitch: no daemon: there is no socket {socket}\n"
    assert captured.out == ""


def test_a_missing_daemon_is_told_as_json_to_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--json", "--socket", str(tmp_path / "none.sock")]) == 3

    assert json.loads(capsys.readouterr().out)["running"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status --netns x", "a namespace goes by its inode number"),
        ("status --netns 1 --socket /x", "not allowed with"),
        ("stop --timeout 0", "a number of seconds above 0"),
        ("stop --timeout nan", "a number of seconds above 0"),
        ("watch --verdict fly", "invalid choice"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(text.split()) == cli.USAGE_ERROR
    assert said in capsys.readouterr().err
