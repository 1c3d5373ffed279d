"""Which question is under the cursor, and from when on it may be answered."""

from __future__ import annotations

from nfsnitch.prompt.board import Board
from scripted_daemon import question

GUARD_S = 0.7


def a_board(*numbers: int) -> Board:
    """Return a board on which questions were put at 0."""
    board = Board(GUARD_S)
    for number in numbers:
        board.put(question(number), 0.0)
    return board


def under_the_cursor(board: Board) -> int | None:
    return None if board.current is None else board.current.asked.number


def test_a_question_may_be_answered_once_it_could_be_read() -> None:
    board = a_board(1)

    assert not board.is_ready(0.69)
    assert board.is_ready(0.7)
    assert not a_board().is_ready(99.0)


def test_new_questions_do_not_move_the_cursor_or_begin_the_wait_anew() -> None:
    board = a_board(1)
    assert board.put(question(2), 5.0)

    assert under_the_cursor(board) == 1
    assert board.is_ready(5.0)


def test_more_flows_and_less_time_are_no_news_but_another_program_is() -> None:
    board = a_board(1)
    assert not board.put(question(1, flows=9, left_s=20.0), 5.0)
    assert board.is_ready(5.0)
    board.put(question(1, owner={"sha256": "00" * 32}), 6.0)

    assert not board.is_ready(6.69)
    assert board.is_ready(6.7)


def test_when_the_one_under_the_cursor_ends_the_next_has_to_be_read() -> None:
    board = a_board(1, 2, 3)
    board.move(1, 1.0)
    board.end(2, 5.0)

    assert under_the_cursor(board) == 3
    assert not board.is_ready(5.6)
    board.end(3, 6.0)
    assert under_the_cursor(board) == 1
    assert board.end(3, 6.0) is None
    board.end(1, 7.0)
    assert under_the_cursor(board) is None


def test_the_cursor_stays_within_the_list() -> None:
    board = a_board(1, 2)
    board.move(-5, 1.0)
    assert under_the_cursor(board) == 1
    board.move(9, 1.0)

    assert (under_the_cursor(board), board.place) == (2, 1)


def test_the_cursor_comes_back_with_its_question() -> None:
    board = a_board(1, 2, 3)
    board.move(1, 1.0)
    board.clear()
    for number in (1, 2, 3):
        board.put(question(number), 5.0)

    assert under_the_cursor(board) == 2
    assert not board.is_ready(5.6)


def test_without_a_selection_those_of_the_same_program_and_user_are_meant() -> None:
    board = a_board(1, 2)
    board.put(question(3, owner={"uid": 1_000}), 0.0)
    board.put(question(4, owner={"script": "/opt/x.py"}), 0.0)
    assert [each.asked.number for each in board.meant()] == [1, 2]
    board.move(2, 1.0)
    board.select()

    assert [each.asked.number for each in board.meant()] == [3]
    board.end(3, 1.0)
    assert [each.asked.number for each in board.meant()] == [4]


def test_programs_whose_path_is_not_known_are_told_apart_by_process() -> None:
    unknown = {"exe": {"unknown": "too long"}}
    board = Board(GUARD_S)
    board.put(question(1, owner={**unknown, "pid": 1}), 0.0)
    board.put(question(2, owner={**unknown, "pid": 2}), 0.0)

    assert [each.asked.number for each in board.meant()] == [1]
