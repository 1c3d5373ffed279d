"""The library of lists: what there is stays in use until something newer is whole."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from list_server import ListServer, Page, Play, dripping, endless, list_server, named
from nfsnitch.adapters.lists.messages import Phase
from nfsnitch.core.counters import Counter
from nfsnitch.core.listing import Entry

TEXT = b"".join(b"host%d.example\n" % number for number in range(200))
MANY = b"".join(b"host%d.sub%d.example\n" % (number, number % 7) for number in range(400_000))


@pytest.fixture
def server() -> Iterator[ListServer]:
    with list_server() as known:
        yield known


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lists"


def test_a_local_list_is_compiled_and_tells_which_line_names_a_host(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"# mine\nads.example\n192.0.2.0/24\n")

    with Play(state) as play:
        (mine,) = play.use(named(path, "mine"))
        status = play.settled()[0]

        assert mine.content is not None
        assert mine.content.find_name("x.ads.example") == Entry("mine", 2, "ads.example")
        assert mine.content.find_address(b"\xc0\0\x02\x07") == Entry("mine", 3, "192.0.2.0/24")
    assert (status.names, status.networks, status.problem) == (1, 1, None)
    assert play.changes == 1


def test_what_was_compiled_before_is_there_at_once_and_not_compiled_again(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(TEXT)
    with Play(state) as play:
        play.use(named(path))
        play.settled()

    with Play(state) as play:
        (mine,) = play.use(named(path))

        assert mine.content is not None
        assert mine.content.names == 200
        play.settled()
        assert play.counters[Counter.LISTS_RENEWED] == 0


def test_a_list_in_a_file_is_read_again_when_the_file_changes(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(TEXT)
    with Play(state) as play:
        (mine,) = play.use(named(path))
        play.settled()
        path.write_bytes(b"new.example\n")
        play.wait_until(lambda: play.changes == 2, "the change noticed")

        assert mine.content is not None
        assert mine.content.find_name("new.example")
        assert not mine.content.find_name("host7.example")


def test_a_file_that_comes_later_is_noticed(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "mine.txt"
    with Play(state) as play:
        (mine,) = play.use(named(path))
        assert "No such file" in play.problem()
        path.write_bytes(TEXT)
        play.wait_until(lambda: mine.content is not None, "the file read")


def test_a_spoiled_compiled_list_is_refused_counted_and_compiled_anew(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(TEXT)
    with Play(state) as play:
        play.use(named(path))
        play.settled()
    (compiled,) = state.glob("*.list")
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[: len(whole) // 2])

    with Play(state) as play:
        (mine,) = play.use(named(path))
        assert mine.content is None
        play.wait_until(lambda: mine.content is not None, "compiled anew")

        assert play.counters[Counter.LISTS_SPOILED] >= 1
    assert compiled.read_bytes()[:8] == whole[:8]
    assert compiled.stat().st_size == len(whole)


def test_a_list_from_the_network_is_fetched_and_then_only_asked_after(
    server: ListServer, state: Path
) -> None:
    server.pages["/ads"] = Page(TEXT, etag='"one"', packed=True)
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads"))
        play.settled()
        assert ads.content is not None
        first = ads.content
        play.refreshed()
        assert ads.content is first

        server.pages["/ads"] = Page(TEXT + b"new.example\n", etag='"two"')
        play.refreshed()

        assert ads.content.find_name("new.example") == Entry("ads", 201, "new.example")
    assert server.asked == [("/ads", 200), ("/ads", 304), ("/ads", 200)]


def test_a_restart_does_not_fetch_what_is_fresh(server: ListServer, state: Path) -> None:
    server.pages["/ads"] = Page(TEXT)
    with Play(state) as play:
        play.use(named(f"{server.url}/ads"))
        play.settled()
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads"))
        assert ads.content is not None
        due_s = play.settled()[0].due_s

    assert due_s is not None
    assert 80_000 < due_s <= 86_400
    assert server.asked == [("/ads", 200)]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (Page(status=503), "answers 503"),
        (Page(b""), "it has no entries"),
        (Page(b"# nothing\n"), "it has no entries"),
        (Page(b"<html><body>\n<p>Log in to\n<a href=x>the network</a>\n</html>\n"), "most of its"),
        (Page(TEXT[:100]), "far less than before"),
        (Page(TEXT, length=len(TEXT) + 1), "it ended after"),
        (Page(TEXT, status=302, location="file:///etc/hosts"), "only http:// and https://"),
        (Page(TEXT, status=302, location="/ads"), "redirected more than"),
    ],
)
def test_what_is_no_list_is_not_taken_and_the_last_good_one_stays(
    server: ListServer, state: Path, page: Page, why: str
) -> None:
    server.pages["/ads"] = Page(TEXT)
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads"))
        play.settled()
        server.pages["/ads"] = page
        status = play.refreshed()

        assert status.problem is not None
        assert why in status.problem
        assert ads.content is not None
        assert ads.content.find_name("host7.example")
        assert play.counters[Counter.LISTS_FAILED] == 1
        assert status.due_s is not None
        assert status.due_s < 70, "it is tried again soon"


def test_a_list_that_has_shrunk_is_taken_by_whoever_wants_it_all_the_same(
    server: ListServer, state: Path
) -> None:
    server.pages["/ads"] = Page(TEXT)
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads"))
        play.settled()
        server.pages["/ads"] = Page(b"only.example\n")
        assert play.refreshed().problem
        assert play.refreshed(anyway=True).problem is None

        assert ads.content is not None
        assert ads.content.names == 1


def test_only_the_text_with_the_sum_that_is_wanted_is_taken(
    server: ListServer, state: Path
) -> None:
    wanted = hashlib.sha256(TEXT).hexdigest()
    server.pages["/ads"] = Page(b"other.example\n")
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads", sha256=wanted))
        assert "its SHA-256 is" in play.problem()
        assert play.changes == 0
        server.pages["/ads"] = Page(TEXT)
        play.refreshed()

        assert ads.content is not None
        assert play.library.status()[0].due_s is None, "no other can come"


def test_a_redirection_is_followed_to_where_the_list_is(server: ListServer, state: Path) -> None:
    server.pages["/old"] = Page(status=301, location="/new")
    server.pages["/new"] = Page(TEXT)
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/old"))
        play.settled()

        assert ads.content is not None


def test_the_process_killed_in_the_middle_leaves_the_last_good_list_and_no_rubbish(
    server: ListServer, state: Path
) -> None:
    server.pages["/ads"] = Page(TEXT)
    with Play(state) as play:
        (ads,) = play.use(named(f"{server.url}/ads"))
        play.settled()
        server.pages["/ads"] = Page(send=endless)
        play.library.refresh("ads")
        play.wait_until(
            lambda: (at := play.library.status()[0].progress) is not None and at.done > 100_000,
            "the fetch under way",
        )
        process = play.library.helper_process()
        assert process is not None
        os.kill(process[0], signal.SIGKILL)

        assert "SIGKILL" in play.problem()
        assert ads.content is not None
        assert ads.content.find_name("host7.example")
        play.wait_until(lambda: len(list(state.iterdir())) == 1, "what was begun is removed")
        assert play.library.helper_process() is None


def test_ending_in_the_middle_leaves_nothing_behind(server: ListServer, state: Path) -> None:
    server.pages["/ads"] = Page(send=dripping)
    with Play(state) as play:
        play.use(named(f"{server.url}/ads"))
        play.wait_until(lambda: bool(server.asked), "the fetch under way")
        process = play.library.helper_process()
        assert process is not None

    assert not Path(f"/proc/{process[0]}").exists()
    assert list(state.iterdir()) == []


def test_rules_read_anew_get_the_same_lists_at_once_and_new_ones_soon(
    tmp_path: Path, state: Path
) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_bytes(TEXT)
    second.write_bytes(b"second.example\n")
    with Play(state) as play:
        play.use(named(first, "a"))
        play.settled()
        again, other, new = play.use(named(first, "a"), named(first, "b"), named(second, "c"))

        assert again.content is not None
        assert other.content is not None
        assert other.content.find_name("host7.example") == Entry("b", 8, "host7.example")
        assert new.content is None
        play.wait_until(lambda: new.content is not None, "the new one")
        assert play.counters[Counter.LISTS_RENEWED] == 2


def test_rules_read_anew_again_and_again_while_a_list_is_compiled_share_one_process(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(MANY)
    with Play(state) as play:
        for _ in range(20):
            (mine,) = play.use(named(path))
            play.wait_until(lambda: play.library.helper_process() is not None, "begun")
        play.wait_until(lambda: mine.content is not None, "compiled")

        assert play.counters[Counter.LISTS_RENEWED] == 1


def test_two_daemons_may_keep_their_lists_in_one_folder(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(TEXT)
    with Play(state) as one, Play(state) as other:
        one.use(named(path))
        (there,) = other.use(named(path))
        one.settled()
        other.settled()

        assert there.content is not None
        assert there.content.names == 200


def test_how_far_it_is_can_be_seen_while_it_is_done(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(MANY)
    seen = set()
    with Play(state) as play:
        (mine,) = play.use(named(path))

        def look() -> bool:
            progress = play.library.status()[0].progress
            if progress is not None and progress.total:
                seen.add(progress.phase)
                assert progress.done <= progress.total
            return mine.content is not None

        play.wait_until(look, "compiled")
    assert seen == {Phase.READING, Phase.COMPILING}


def test_what_is_no_regular_file_is_refused_and_nobody_waits_for_it(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with Play(state) as play:
        play.use(named(path))

        assert "no regular file" in play.problem()
