"""Questions, records and connections of programs that try to say more than anybody reads."""

from __future__ import annotations

import dataclasses
import json

import pytest

from builders import WALL_NS, arrival, flow, instant, process
from engine_play import RULES, new_engine
from nfsnitch.asking import rows
from nfsnitch.asking.excerpts import excerpts
from nfsnitch.core.commands import ShowQuestion
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import Ancestor, Attribution, Finding, Owner, Process
from nfsnitch.core.question import Question
from nfsnitch.core.record import Record
from nfsnitch.core.text import decoded
from nfsnitch.protocol import MAX_REPLY_BYTES, MOST_ROWS, History, Silenced, encode

HOSTILE = decoded(b"\xff\x80\x1b\x9b" * 1_023)
"""As long as a path may be, and each byte takes six in JSON."""
LONGEST_ARGS = tuple(decoded(b"\xff" * 1_024) for _ in range(64))
"""Together as long as what is read of them."""


def hostile(number: int = 0) -> Process:
    """Return a process that has the longest of all."""
    plain = process(f"/usr/bin/python3.11{HOSTILE}{number}")
    parents = tuple(
        Ancestor(4_700 + each, 1, dataclasses.replace(plain.exe, path=f"{each}{HOSTILE}"))
        for each in range(16)
    )
    script = decoded(b"/" + b"\xff" * 65_000)
    return dataclasses.replace(
        plain,
        args=("python3", script) if number % 2 else LONGEST_ARGS,
        parents=parents,
        cgroup=f"/{HOSTILE}",
        exe=dataclasses.replace(plain.exe, inside=HOSTILE),
    )


def asked_of(owner: Owner, rivals: tuple[Owner, ...] = ()) -> Question:
    """Return the question about a connection of a program."""
    commands = new_engine(RULES).receive(
        arrival(1, of_flow=flow(dport=22), owner=owner, rivals=rivals)
    )
    (question,) = (each.question for each in commands if isinstance(each, ShowQuestion))
    return question


def record_of(owner: Owner, rivals: tuple[Owner, ...] = ()) -> Record:
    """Return the record of a connection of a program."""
    decision = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
    of_flow = (decision, 0, 1, flow(), owner, Attribution.FLOW_MAP, 1, "eth0", rivals)
    return Record(WALL_NS, *of_flow)


@pytest.mark.parametrize("rivals", [0, 1, 4, 300])
def test_a_question_can_be_read_by_clients_whatever_the_program_is_called(rivals: int) -> None:
    question = asked_of(hostile(), tuple(map(hostile, range(1, rivals + 1))))
    message = rows.asked(question, instant())

    assert len(encode(message)) <= MAX_REPLY_BYTES
    assert message.owner["pid"] == 4_711
    assert message.owner["exe"].startswith("/usr/bin/python3.11")
    assert message.owner["args_cut"]


def test_what_is_not_too_long_is_told_whole() -> None:
    owner = rows.asked(asked_of(process()), instant()).owner
    record = record_of(process(), (process("/usr/bin/wget"),))

    assert "args_cut" not in owner
    assert owner["parents"] == [{"pid": 4_700, "start_time": 4_000_000_000, "exe": "/usr/bin/bash"}]
    assert rows.record_row(record) == record.as_json()


def test_a_page_of_the_longest_rows_can_be_read_and_goes_on_where_it_ended() -> None:
    silenced = [rows.silenced(asked_of(hostile(number)), instant()) for number in range(MOST_ROWS)]
    records = [rows.record_row(record_of(hostile(number))) for number in range(MOST_ROWS)]

    for message in (Silenced(50, rows.page(silenced)), History(1, rows.page(records))):
        assert 1 <= len(message.rows) < MOST_ROWS
        assert len(encode(message)) <= MAX_REPLY_BYTES
    short = [{"name": str(number)} for number in range(MOST_ROWS)]
    assert rows.page(short) == tuple(short)


def test_a_row_that_is_too_long_for_a_page_is_one_of_its_own() -> None:
    long, short = {"rule": "x" * MAX_REPLY_BYTES}, {"rule": "y"}

    assert rows.page([long, short]) == (long,)
    assert rows.page([short, long]) == (short,)
    assert rows.page([]) == ()


def test_beyond_the_last_rule_there_are_no_lines_to_be_cut_out() -> None:
    assert excerpts([], None) == {}


def test_a_connection_is_a_short_row_whatever_the_program_is_called() -> None:
    found = Finding(hostile(1), Attribution.FLOW_MAP, 1)
    row = rows.connection_row(
        LiveFlow(flow(), found, "eth0", labelled=True, is_cut=False, entry=b""),
        lambda _owner, _daddr: Names(),
        instant(),
    )

    assert row is not None
    assert len(json.dumps(row)) < 100_000
