"""The rules that answers have made, and how long they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from book_play import add, allows, lasting, opened, save
from builders import WALL_NS, instant, process
from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.asking.book import MOST_CHARACTERS, MOST_LASTING, MOST_TEMPORARY
from nfsnitch.asking.duration import parse_duration

HOUR_NS = 3_600_000_000_000


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "answers.yaml"


@pytest.mark.parametrize("clock_set_ns", [-24 * HOUR_NS, 0, 24 * HOUR_NS])
def test_five_minutes_are_five_minutes_whatever_becomes_of_the_clock(
    path: Path, clock_set_ns: int
) -> None:
    book = opened(path)
    add(book, "a", "5m")

    assert allows(book, after_s=299, clock_set_ns=clock_set_ns)
    assert not allows(book, after_s=300, clock_set_ns=clock_set_ns)


def test_until_a_time_is_until_the_clock_says_so_and_outlives_the_daemon(path: Path) -> None:
    book = opened(path)
    add(book, "a", "until 2027-01-15T08:10Z", more="expires: 2027-01-15T08:10Z\n")
    save(book)

    again = opened(path)

    assert allows(again, after_s=599)
    assert not allows(again, after_s=600)
    assert not allows(again, clock_set_ns=HOUR_NS)


def test_what_holds_for_a_process_does_not_hold_for_who_gets_its_pid(path: Path) -> None:
    book = opened(path)
    add(book, "a", "process", of_process=process())

    assert allows(book, after_s=100_000)
    assert not allows(book, owner=replace(process(), start_time_ns=6_000_000_000))


def test_the_daemon_s_end_ends_what_was_not_for_longer(path: Path) -> None:
    book = opened(path)
    add(book, "a", "restart")
    add(book, "b", "forever")
    save(book)

    assert [rule.name for rule in book.rules()] == ["a", "b"]
    assert [rule.name for rule in opened(path).rules()] == ["b"]


def test_nothing_is_written_before_there_is_something_to_keep(path: Path) -> None:
    book = opened(path)
    add(book, "a", "restart")

    assert book.is_saved
    assert not path.exists()


@pytest.mark.parametrize("first", ["forever", "5m"])
@pytest.mark.parametrize("second", ["forever", "restart"])
def test_no_two_answers_have_one_name(path: Path, first: str, second: str) -> None:
    book = opened(path)
    add(book, "a", first)
    add(book, "b", second)

    with pytest.raises(Refused, match="'a' already"):
        add(book, "a", second)
    with pytest.raises(Refused, match="'a' already"):
        book.change("b", book.block("name: a\naction: deny\n"))
    assert len(book.rules()) == 2


def test_answers_that_end_are_as_many_as_there_may_be_and_no_more(path: Path) -> None:
    book = opened(path)
    for number in range(MOST_TEMPORARY):
        add(book, f"{number}", "5m")

    with pytest.raises(Refused, match="revoke some"):
        add(book, "one more", "5m")
    assert len(book.rules()) == MOST_TEMPORARY


def test_answers_that_last_are_as_many_as_there_may_be_and_no_more(path: Path) -> None:
    book = opened(path)
    add(book, "a")
    forever = parse_duration("forever", WALL_NS)

    book.check_room(MOST_LASTING - 1, forever)
    with pytest.raises(Refused, match="revoke some"):
        book.check_room(MOST_LASTING, forever)


def test_a_rule_that_is_longer_than_anybody_reads_is_refused(path: Path) -> None:
    book = opened(path)
    head = "name: a\naction: deny\nnote: "

    assert book.block(f"{head}{'x' * 900}\n").rule.name == "a"
    with pytest.raises(Refused, match="characters at most"):
        book.block(f"{head}{'x' * MOST_CHARACTERS}\n")


def test_a_rule_is_gone_when_it_is_revoked_here_and_in_the_file(path: Path) -> None:
    book = opened(path)
    add(book, "a", "5m")
    add(book, "b")
    save(book)

    book.revoke("a")
    book.revoke("b")
    save(book)

    assert book.rules() == opened(path).rules() == ()
    with pytest.raises(Refused, match="no answer has made a rule 'b'"):
        book.revoke("b")


def test_a_changed_rule_ends_when_the_one_before_it_would_have(path: Path) -> None:
    book = opened(path)
    add(book, "a", "5m")

    book.change("a", book.block("name: b\naction: allow\ndport: 80\n"))

    assert allows(book, after_s=299)
    assert not allows(book, after_s=300)


def test_rules_decide_in_the_order_into_which_they_are_moved(path: Path) -> None:
    book = opened(path)
    for name in "abc":
        add(book, name)
    book.move("c", 0)
    save(book)

    assert lasting(opened(path)) == ["c", "a", "b"]
    with pytest.raises(Refused, match="there are 3 rules"):
        book.move("c", 3)
    with pytest.raises(Refused, match="no answer has made"):
        book.move("d", 0)


def test_what_has_ended_is_taken_away_and_nothing_else(path: Path) -> None:
    dead = process(pid=5_000)
    book = opened(path, lambda each: each != dead)
    add(book, "a", "5m")
    add(book, "b", "process", of_process=process())
    add(book, "c", "process", of_process=dead)
    add(book, "d", "restart")

    looks = [book.tidy(instant(1)) for _ in range(4)]
    assert sum(looks) == 1
    assert [rule.name for rule in book.rules()] == ["a", "b", "d"]
    assert book.tidy(instant(300))
    assert [rule.name for rule in book.rules()] == ["b", "d"]
