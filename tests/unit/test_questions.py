"""One question for all flows that wait for the same answer, and how it ends."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, datagrams, flow, instant, process
from engine_play import ASK_S, RULES, counts, new_engine, records, verdicts
from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import Command, EndQuestion, ShowQuestion
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import Answered, RulesetChanged, SocketClosed, Stopping, TimePassed
from nfsnitch.core.owner import Owner
from nfsnitch.core.question import Question
from nfsnitch.core.settings import Limits, Settings
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Outcome

PYTHON = "/usr/bin/python3.11"


def shown(commands: list[Command]) -> list[Question]:
    return [each.question for each in commands if isinstance(each, ShowQuestion)]


def ended(commands: list[Command]) -> list[tuple[int, Outcome]]:
    return [(each.number, each.outcome) for each in commands if isinstance(each, EndQuestion)]


def ask(
    engine: Engine, number: int, owner: Owner | None = None, *, seconds: float = 0, dport: int = 22
) -> list[Command]:
    """Have a program try a connection that is to be asked about: socket and packet *number*."""
    of_flow = flow(dport=dport, sport=40_000 + number)
    event = arrival(number, of_flow=of_flow, owner=owner, sock_cookie=number, seconds=seconds)
    return engine.receive(event)


def test_who_tries_again_is_asked_about_once() -> None:
    engine = new_engine()

    first, again = shown(ask(engine, 1)), shown(ask(engine, 2, process(pid=4_712), seconds=1))

    assert [(each.number, each.flows) for each in (*first, *again)] == [(1, 1), (1, 2)]
    assert again[0].flow == first[0].flow
    assert engine.questions == again


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (process(), process("/usr/bin/wget")),
        (process(), replace(process(), uid=0)),
        (process(), Unknown("nobody knows")),
        (
            replace(process(PYTHON), args=("python3", "/a.py")),
            replace(process(PYTHON), args=("python3", "/b.py")),
        ),
        (
            replace(process(PYTHON), args=("python3", "-c", "1")),
            replace(process(PYTHON), args=("python3", "-c", "2")),
        ),
    ],
    ids=["program", "user", "unknown", "script", "arguments of an interpreter"],
)
def test_what_another_program_wants_is_another_question(first: Owner, second: Owner) -> None:
    engine = new_engine(replace(RULES, unattributed=Action.ASK))

    (one,), (two,) = shown(ask(engine, 1, first)), shown(ask(engine, 2, second))

    assert one.number != two.number


def test_another_destination_is_another_question() -> None:
    engine = new_engine()

    numbers = [shown(ask(engine, dport, dport=dport))[0].number for dport in (22, 443, 444)]

    assert len(set(numbers)) == len(numbers)


def test_an_answer_decides_all_that_wait_for_it_and_nothing_else() -> None:
    engine = new_engine()
    ask(engine, 1)
    ask(engine, 2)
    ask(engine, 3, process("/usr/bin/wget"))

    answered = engine.receive(Answered(instant(2), 1, Answer(Action.ALLOW)))

    assert verdicts(answered) == {1: Verdict.ACCEPT, 2: Verdict.ACCEPT}
    assert {each.decision.reason for each in records(answered)} == {Reason.ANSWERED}
    assert {each.decision.action for each in records(answered)} == {Action.ASK}
    assert ended(answered) == [(1, Outcome.ANSWERED)]
    assert counts(answered)[Counter.ANSWERED] == 2
    assert [each.number for each in engine.questions] == [2]


def test_an_answer_is_for_once_the_next_connection_is_asked_about_anew() -> None:
    engine = new_engine()
    ask(engine, 1)
    engine.receive(Answered(instant(1), 1, Answer(Action.ALLOW)))

    assert [each.number for each in shown(ask(engine, 2, seconds=2))] == [2]


def test_the_second_answer_comes_late_and_changes_nothing() -> None:
    engine = new_engine()
    ask(engine, 1)
    engine.receive(Answered(instant(1), 1, Answer(Action.DENY)))

    late = engine.receive(Answered(instant(1), 1, Answer(Action.ALLOW)))

    assert verdicts(late) == {}
    assert counts(late) == {Counter.ANSWERED_LATE: 1}


def test_who_joins_a_question_waits_until_the_time_for_that_is_over() -> None:
    engine = new_engine()
    ask(engine, 1)
    ask(engine, 2, seconds=ASK_S - 1)

    over = engine.receive(TimePassed(instant(ASK_S)))

    assert verdicts(over) == {1: Verdict.REJECT, 2: Verdict.REJECT}
    assert ended(over) == [(1, Outcome.UNANSWERED)]


def test_who_closes_its_connection_is_asked_about_no_longer() -> None:
    engine = new_engine()
    ask(engine, 1)
    ask(engine, 2)

    first = engine.receive(SocketClosed(instant(1), 1))
    last = engine.receive(SocketClosed(instant(2), 2))

    assert verdicts(first) == {1: Verdict.DROP}
    assert ended(first) == []
    assert ended(last) == [(1, Outcome.GONE)]
    assert [each.decision.reason for each in records([*first, *last])] == [Reason.GONE] * 2


def test_a_datagram_may_still_be_let_out_when_its_program_has_ended() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=datagrams(dport=22), sock_cookie=9))

    assert verdicts(engine.receive(SocketClosed(instant(1), 9))) == {}
    answered = engine.receive(Answered(instant(2), 1, Answer(Action.ALLOW)))
    assert verdicts(answered) == {1: Verdict.ACCEPT}


def test_new_rules_that_decide_end_a_question_and_those_that_do_not_leave_it() -> None:
    engine = new_engine()
    ask(engine, 1)

    unchanged = engine.receive(RulesetChanged(instant(1), RULES, 2))
    allowed = engine.receive(
        RulesetChanged(instant(2), replace(RULES, rules=(), default=Action.ALLOW), 3)
    )

    assert ended(unchanged) == []
    assert (verdicts(allowed), ended(allowed)) == ({1: Verdict.ACCEPT}, [(1, Outcome.RULES)])


def test_a_stop_ends_all_questions() -> None:
    engine = new_engine()
    ask(engine, 1)
    ask(engine, 2, process("/usr/bin/wget"))

    stopped = engine.receive(Stopping(instant(1)))

    assert ended(stopped) == [(1, Outcome.STOPPING), (2, Outcome.STOPPING)]


def test_one_program_cannot_take_all_the_room_there_is() -> None:
    limits = Limits(held_flows=10, held_flows_of_program=3)
    engine = new_engine(replace(RULES, settings=Settings(limits=limits)))
    for number in range(3):
        ask(engine, number, dport=1_000 + number)

    over = ask(engine, 3, dport=2_000)
    other = ask(engine, 4, process("/usr/bin/wget"))

    assert verdicts(over) == {3: Verdict.REJECT}
    assert counts(over)[Counter.HELD_LIMIT] == 1
    assert len(shown(other)) == 1


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_each_of_many_gets_the_answer_that_it_was_given(order: random.Random, many: int) -> None:
    engine = new_engine()
    wishes = {}
    for number in range(many):
        (question,) = shown(ask(engine, number, process(f"/usr/bin/program-{number}")))
        wishes[question.number] = (
            number,
            order.choice((Action.ALLOW, Action.DENY, Action.REJECT)),
        )
    expected = {Action.ALLOW: "accept", Action.DENY: "drop", Action.REJECT: "reject"}

    for question_number in order.sample(sorted(wishes), many):
        packet, action = wishes[question_number]
        answered = engine.receive(Answered(instant(1), question_number, Answer(action)))
        assert verdicts(answered) == {packet: Verdict(expected[action])}

    assert (engine.questions, engine.held_flows) == ([], 0)
