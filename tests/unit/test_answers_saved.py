"""How answers that last get into their file, whoever else writes it and whatever goes wrong."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from book_play import BROKEN, BY_HAND, add, allows, lasting, opened, save, written_by_hand
from nfsnitch.adapters.rulefile.problems import Refused


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "answers.yaml"


def test_what_somebody_writes_into_the_file_holds_and_stays(path: Path) -> None:
    book = opened(path)
    add(book, "a")
    save(book)

    written_by_hand(path, BY_HAND)
    assert book.refresh()
    assert not book.refresh()
    add(book, "b")
    save(book)

    assert lasting(book) == ["by hand", "b"]
    assert path.read_text() == f"{BY_HAND}- name: b\n  action: allow\n"


def directory(path: Path) -> None:
    path.mkdir(parents=True)


def fifo(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def too_large(path: Path) -> None:
    written_by_hand(path, BY_HAND)
    os.truncate(path, (16 << 20) + 1)


def no_utf_8(path: Path) -> None:
    written_by_hand(path, BY_HAND)
    path.write_bytes(b"# \xff\n" + BY_HAND.encode())


@pytest.mark.parametrize("spoil", [directory, fifo, too_large, no_utf_8])
def test_a_file_that_cannot_be_read_is_a_problem_and_no_end(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    book = opened(path)

    assert book.problem is not None
    assert str(path) in book.problem
    assert book.rules() == ()


def test_a_broken_file_is_not_used_and_not_written_and_it_is_said_why(path: Path) -> None:
    written_by_hand(path, BROKEN)
    book = opened(path)

    with pytest.raises(Refused, match=r"answers.yaml:3:11: action 'alow'.*mend it"):
        add(book, "a")
    add(book, "b", "5m")

    assert [rule.name for rule in book.rules()] == ["b"]
    assert path.read_text() == BROKEN


def test_a_mended_file_is_used_again(path: Path) -> None:
    written_by_hand(path, BROKEN)
    book = opened(path)
    written_by_hand(path, BY_HAND)

    assert book.refresh()
    add(book, "a")

    assert book.problem is None
    assert save(book) is None
    assert lasting(opened(path)) == ["by hand", "a"]


def test_a_file_that_breaks_leaves_in_force_what_it_said_before(path: Path) -> None:
    written_by_hand(path, BY_HAND)
    book = opened(path)
    written_by_hand(path, BROKEN)

    assert book.refresh()
    assert book.problem is not None
    assert lasting(book) == ["by hand"]
    with pytest.raises(Refused, match="cannot be used"):
        book.revoke("by hand")


def unwritable(path: Path) -> Path:
    """Let nothing be written in the place of *path*, for whomever, until this is removed."""
    in_the_way = path.with_name(f"{path.name}.new")
    in_the_way.mkdir(parents=True)
    return in_the_way


def test_what_cannot_be_written_holds_all_the_same_and_is_written_later(path: Path) -> None:
    in_the_way = unwritable(path)
    book = opened(path)
    add(book, "a")

    assert save(book) == "Is a directory"
    assert not book.is_saved
    assert allows(book)
    in_the_way.rmdir()
    assert save(book) is None
    assert lasting(opened(path)) == ["a"]


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the kernel write no more than that into a file, as if there were no more room."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_file_for_which_there_is_no_room_stays_as_it_was(path: Path) -> None:
    written_by_hand(path, BY_HAND)
    book = opened(path)
    add(book, "a")

    with files_of_at_most(len(BY_HAND) + 1):
        assert save(book) == "File too large"
    assert path.read_text() == BY_HAND
    assert save(book) is None
    assert lasting(opened(path)) == ["by hand", "a"]


def test_what_is_unsaved_does_not_overwrite_a_file_that_has_to_be_mended(path: Path) -> None:
    in_the_way = unwritable(path)
    book = opened(path)
    add(book, "a")
    save(book)
    in_the_way.rmdir()
    written_by_hand(path, BROKEN)
    book.refresh()

    assert "mended first" in (save(book) or "")
    assert path.read_text() == BROKEN
    written_by_hand(path, BY_HAND)
    book.refresh()
    assert save(book) is None
    assert lasting(opened(path)) == ["by hand", "a"]


def test_whoever_writes_the_file_first_loses_nothing_and_neither_do_we(path: Path) -> None:
    book = opened(path)
    add(book, "a")
    saving = book.begin_to_save()
    add(book, "b")
    written_by_hand(path, BY_HAND)

    problem = saving()
    book.saved(problem)

    assert problem is not None
    assert "somebody has changed it" in problem
    assert path.read_text() == BY_HAND
    assert book.refresh()
    assert save(book) is None
    assert lasting(opened(path)) == ["by hand", "a", "b"]


def test_what_is_done_while_the_file_is_being_written_is_written_next(path: Path) -> None:
    book = opened(path)
    add(book, "a")
    saving = book.begin_to_save()
    add(book, "b")
    book.saved(saving())

    assert not book.is_saved
    assert save(book) is None
    assert lasting(opened(path)) == ["a", "b"]


def test_what_was_done_before_somebody_else_wrote_is_done_to_what_they_wrote(path: Path) -> None:
    written_by_hand(path, BY_HAND)
    book = opened(path)
    for name in "abcd":
        add(book, name)
    save(book)
    others = path.read_text()
    in_the_way = unwritable(path)
    add(book, "e")
    book.revoke("e")
    book.revoke("a")
    book.change("b", book.block("name: f\naction: deny\n"))
    book.move("d", 0)
    save(book)
    in_the_way.rmdir()

    written_by_hand(path, f"{others}- name: theirs\n  action: deny\n")
    assert book.refresh()
    assert save(book) is None

    assert lasting(book) == lasting(opened(path)) == ["d", "by hand", "f", "c", "theirs"]
    assert "# Why not.\n- name: by hand\n" in path.read_text()


def test_an_answer_by_a_group_that_is_gone_does_not_spoil_the_file(path: Path) -> None:
    written_by_hand(path, f"groups: {{g: [192.0.2.1]}}\n{BY_HAND}")
    book = opened(path)
    add(book, "a", more="daddr: g\n")
    written_by_hand(path, BY_HAND)

    assert book.refresh()
    assert book.is_saved
    assert lasting(book) == ["by hand"]


def test_who_reads_the_file_while_it_is_written_reads_the_whole_of_it(path: Path) -> None:
    book = opened(path)
    add(book, "r")
    save(book)
    written, done, seen = {path.read_text()}, threading.Event(), set[str]()

    def look() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(200):
            add(book, f"r{number}")
            written.add(book.lasting.text)
            assert save(book) is None
    finally:
        done.set()
        reader.join()

    assert len(seen) > 1
    assert seen <= written
