"""Clients that are told what is asked: how it is by now, never more than they read."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace

import pytest

from control_play import MakePlay, Play, a_record, refusal, still_served
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    Asked,
    Ended,
    Mode,
    ModeChanged,
    QuestionsRequest,
    Recorded,
    Resync,
    Right,
    RulesChanged,
    Stopping,
    Watching,
    WatchRequest,
    encode,
)
from question_play import QUESTION, Board, listening, turns


@pytest.fixture(name="board")
def fixture_board() -> Board:
    return Board()


@pytest.fixture(name="play")
def fixture_play(make: MakePlay, board: Board) -> Play:
    return board.play(make)


def kept_by_the_server() -> int:
    """Return how many bytes the server's own modules hold of those allocated since `start`."""
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    own = snapshot.filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern="*/adapters/control*")]
    )
    return sum(each.size for each in own.statistics("filename"))


def test_a_daemon_that_asks_nobody_says_so(make: MakePlay) -> None:
    play = make()

    assert refusal(play.run(play.client().ask(QuestionsRequest()))) == "not-supported"


def test_who_comes_hears_what_is_asked_already_the_earliest_first_and_then_what_comes(
    play: Play, board: Board
) -> None:
    board.ask(*range(1, 31))
    listener = play.run(listening(play))
    play.run(listener.until_it_knows(board))
    board.ask(31)
    board.end(7)
    play.run(listener.until_it_knows(board))

    numbers = [each.number for each in listener.heard if isinstance(each, Asked)]
    assert numbers == list(range(1, 32))
    assert board.looked_up == 31


def test_a_client_is_told_what_it_may_do(play: Play) -> None:
    play.rights = frozenset({Right.WATCH})

    assert play.run(play.run(listening(play)).begin()).rights == ("watch",)


def test_a_question_that_many_flows_join_is_sent_seldom_and_in_the_end_as_it_is(
    play: Play, board: Board
) -> None:
    listener = play.run(listening(play))

    async def join() -> None:
        for flows in range(1, 5_001):
            board.ask(1, flows=flows)
            if flows % 100 == 0:
                await turns(3)
        await listener.until_it_knows(board)

    play.run(join())
    assert listener.seen[1].flows == 5_000
    assert listener.count(Asked) < 50


def test_a_question_that_has_ended_before_it_could_be_sent_is_not_mentioned(
    play: Play, board: Board
) -> None:
    listener = play.run(listening(play))
    board.ask(1, 2, 3)
    board.end(1, 3)
    board.ask(4)
    play.run(listener.until_it_knows(board))

    assert [each.number for each in listener.heard if isinstance(each, Asked)] == [2, 4]
    assert listener.count(Ended) == 0


def test_each_of_several_clients_hears_the_same_and_one_that_vanishes_costs_nobody_anything(
    play: Play, board: Board
) -> None:
    listeners = [play.run(listening(play)) for _ in range(5)]
    board.ask(1, 2)
    gone = listeners.pop()
    gone.client.close()
    board.ask(3)
    board.end(2)
    for each in listeners:
        play.run(each.until_it_knows(board))
    play.run(play.until(lambda: len(play.server.questions) == 4))

    assert [each.seen.keys() for each in listeners] == [{1, 3}] * 4


def test_one_client_may_watch_and_be_asked_at_once(play: Play, board: Board) -> None:
    listener = play.run(listening(play))
    assert play.run(listener.client.ask(WatchRequest())) == Watching()
    for number in range(1, 41):
        board.ask(number)
        play.server.record(a_record(number))

    async def hear_all() -> None:
        await listener.until_it_knows(board)
        while listener.count(Recorded) < 40:
            await listener.hear()

    play.run(hear_all())
    assert play.counters[Counter.WATCH_DROPPED] == 0


def test_a_client_that_does_not_read_costs_little_and_hears_the_truth_when_it_does(
    play: Play, board: Board
) -> None:
    """Ten thousand questions and a hundred thousand changes."""
    asleep, awake = (play.run(listening(play)) for _ in range(2))
    board.ask(*range(10_000))
    play.run(awake.until_it_knows(board))
    tracemalloc.start()

    async def change() -> None:
        for flows in range(2, 12):
            board.ask(*range(10_000), flows=flows)
            await turns(2)
        await awake.until_it_knows(board)

    play.run(change())
    kept_bytes = kept_by_the_server()
    before = board.looked_up
    play.run(asleep.until_it_knows(board))

    # The numbers of the questions, in tables, and 128 KiB of what it has not read.
    assert kept_bytes < 10_000 * 200 + (128 << 10)
    # Those in the buffers, as they were, and each once as it is.
    assert asleep.count(Asked) <= 10_000 + 1_000
    assert board.looked_up - before <= 10_000
    assert asleep.count(Resync) == 0


def test_what_is_kept_for_clients_that_do_not_read_does_not_grow_with_what_happens(
    make: MakePlay, board: Board
) -> None:
    play = board.play(make)
    board.ask(*range(500))
    sleepers = [play.run(listening(play)) for _ in range(10)]

    async def happen(first: int) -> None:
        for number in range(first, first + 10_000):
            board.ask(number)
            board.ask(number % 500, flows=number)
            if number % 3:
                board.set_mode(Mode.ASK)
            board.end(number)
            if number % 20 == 0:
                await turns(2)

    play.run(happen(1_000))
    tracemalloc.start()
    play.run(happen(100_000))
    kept_bytes = kept_by_the_server()

    # Each keeps a table of those that are asked at once.
    assert kept_bytes < 10 * 60_000
    for each in sleepers:
        play.run(each.until_it_knows(board))


def test_who_has_slept_through_too_many_ends_begins_anew_and_knows_the_mode(
    play: Play, board: Board
) -> None:
    asleep = play.run(listening(play))
    board.ask(*range(3_000))

    async def read_some() -> None:
        while len(asleep.seen) < 2_500:
            await asleep.hear()

    play.run(read_some())
    board.set_mode(Mode.ALLOW_SILENTLY)
    board.end(*range(1_900))
    board.set_mode(Mode.DENY_SILENTLY)
    board.ask(5_000)
    board.end(1_900)
    asleep.heard.clear()
    play.run(asleep.until_it_knows(board))

    assert asleep.count(Resync) == 1
    assert asleep.count(Ended) <= 1
    assert asleep.mode == Mode.DENY_SILENTLY
    assert board.questions.keys() == {*range(1_901, 3_000), 5_000}


def test_of_the_mode_and_the_rules_the_last_word_is_told(play: Play, board: Board) -> None:
    listener = play.run(listening(play))
    for generation in range(1, 101):
        board.set_mode(Mode.ALLOW_SILENTLY)
        board.set_mode(Mode.ASK)
        play.server.questions.notify(RulesChanged(generation))
    play.run(play.until(lambda: True))

    async def hear_of_rules() -> None:
        while listener.generation < 100:
            await listener.hear()

    play.run(hear_of_rules())
    assert listener.heard == [ModeChanged("ask", None), RulesChanged(100)]


@pytest.mark.parametrize("seed", range(20))
def test_however_clients_read_in_the_end_they_know_what_is_so(
    make: MakePlay, board: Board, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  the same each time
    play = board.play(make, ControlLimits(backlog_bytes=chance.choice([1, 5_000, 128 << 10])))
    listeners = [play.run(listening(play)) for _ in range(3)]

    async def live() -> None:
        next_number = 1
        for _ in range(300):
            for _ in range(chance.randrange(30)):
                board.ask(next_number)
                next_number += 1
            known = list(board.questions)
            board.ask(*chance.sample(known, len(known) // 3), flows=chance.randrange(1, 99))
            board.end(*chance.sample(known, chance.randrange(len(known) // 2 + 1)))
            board.set_mode(chance.choice(list(Mode)))
            await turns(chance.randrange(4))
            reader = listeners[chance.randrange(2)]  # one of them never reads meanwhile
            for _ in range(chance.randrange(20)):
                if reader.seen == board.questions and reader.mode == board.mode:
                    break
                await reader.hear()
        for each in listeners:
            await each.until_it_knows(board)

    play.run(live())


def test_a_question_on_which_the_daemon_fails_is_left_out_and_the_others_come(
    play: Play, board: Board
) -> None:
    listener = play.run(listening(play))
    board.broken.add(2)
    board.ask(1, 2)
    board.questions[3] = replace(QUESTION, number=3, rule="x" * (2 << 20))
    play.server.questions.asked(3)
    board.ask(4)

    async def hear_of_the_last() -> None:
        while 4 not in listener.seen:
            await listener.hear()

    play.run(hear_of_the_last())
    assert listener.seen.keys() == {1, 4}
    assert play.counters[Counter.CONTROL_ERRORS] == 2
    assert play.run(still_served(play))


def test_a_listener_that_talks_nonsense_is_closed_even_if_it_does_not_read(
    make: MakePlay, board: Board
) -> None:
    play = board.play(make, ControlLimits(linger_s=0.05))
    board.ask(1, 2)
    listener = play.run(listening(play))
    play.run(listener.client.say(b"?\n"))

    play.run(play.until(lambda: len(play.server.questions) == 0))


def test_a_client_may_ask_for_other_things_while_it_is_asked(play: Play, board: Board) -> None:
    listener = play.run(listening(play))
    board.ask(*range(100))
    play.run(listener.client.say(b'{"v":1,"type":"status"}\n{"v":1,"type":"questions"}\n'))
    play.run(listener.until_it_knows(board))

    async def both_answers() -> None:
        while {each.type for each in listener.heard} < {"question", "status", "asking"}:
            await listener.hear()

    play.run(both_answers())


def test_at_the_end_all_hear_that_their_questions_end_and_that_the_daemon_stops(
    play: Play, board: Board
) -> None:
    listeners = [play.run(listening(play)) for _ in range(3)]
    board.ask(1, 2)
    for each in listeners:
        play.run(each.until_it_knows(board))
    board.end(1, 2, outcome="stopping")
    play.server.close()

    for each in listeners:
        each.heard.clear()
        while play.run(each.hear()) is not None:
            pass
        assert [(said.number, said.outcome) for said in each.heard[:-1]] == [  # type: ignore[union-attr]  # or the test fails
            (1, "stopping"),
            (2, "stopping"),
        ]
        assert each.heard[-1] == Stopping()


def test_who_is_told_is_never_too_idle(make: MakePlay, board: Board) -> None:
    play = board.play(make, ControlLimits(silent_s=0.05, idle_s=0.05))
    listener = play.run(listening(play))
    other = play.client()

    assert refusal(play.run(other.hear())) == "silent"
    board.ask(1)
    play.run(listener.until_it_knows(board))


def test_a_question_is_less_than_its_share_of_what_is_kept_unread() -> None:
    assert len(encode(QUESTION)) < ControlLimits().backlog_bytes / 100
