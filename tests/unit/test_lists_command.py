"""``nfsnitch lists``: what people see of lists, and how they have them renewed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from list_server import Play, named
from nfsnitch import cli
from nfsnitch.adapters.control_errors import RefusalError
from nfsnitch.adapters.peer import Peer
from nfsnitch.commands.progress_bar import progress_line
from nfsnitch.list_desk import ListDesk
from nfsnitch.protocol import (
    FindListedRequest,
    Listed,
    Lists,
    ListsRequest,
    Refreshing,
    RefreshListsRequest,
    Reply,
    Request,
)
from scripted_daemon import ScriptedDaemon

ROW: dict[str, Any] = {
    "name": "ads",
    "where": "https://lists.example/ads.txt",
    "format": "hosts",
    "names": 1_234_567,
    "networks": 0,
    "age_s": 90_000.0,
    "checked_s": 3_600.0,
    "due_s": 7_200.0,
    "problem": None,
    "errors": 0,
    "unsupported": 0,
    "waits": False,
    "phase": None,
    "done": None,
    "total": None,
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


def lists(daemon: ScriptedDaemon, *argv: str) -> int:
    return cli.main(["lists", *argv, "--socket", str(daemon.path)])


def test_it_shows_how_much_is_on_each_list_and_what_is_wrong(
    daemon: ScriptedDaemon, capsys: Capture
) -> None:
    bad = ROW | {"name": "mine", "where": "/etc/mine", "names": None, "networks": None}
    bad |= {"checked_s": None, "problem": "No such\x1b file", "errors": 3}
    daemon.instead[ListsRequest] = lambda _: [Lists(2, (ROW, bad))]
    assert lists(daemon, "show") == 0
    said = capsys.readouterr().out.splitlines()

    assert said[1].split()[:5] == ["ads", "1,234,567", "0", "hosts", "1"]
    assert "1 h ago" in said[1]
    assert "in 2 h" in said[1]
    assert "not yet" in said[2]
    assert said[3] == "mine: not brought up to date: No such\\x1b file; nothing is listed"
    assert said[4] == "mine: 3 lines could not be read (nfsnitch lists check says which)"


def test_more_lists_than_one_answer_holds_are_asked_for_again(
    daemon: ScriptedDaemon, capsys: Capture
) -> None:
    rows = [ROW | {"name": f"list{number}"} for number in range(7)]
    daemon.instead[ListsRequest] = lambda each: [Lists(7, tuple(rows[each.first : each.first + 3]))]
    assert lists(daemon, "show", "--json") == 0

    shown = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert shown == [f"list{number}" for number in range(7)]


def test_refresh_waits_until_it_is_done_and_says_what_came_of_it(
    daemon: ScriptedDaemon, capsys: Capture
) -> None:
    busy = ROW | {"phase": "fetching", "done": 10, "total": 100}
    states = iter([ROW | {"waits": True}, busy, ROW | {"names": 2, "networks": 1}])
    daemon.instead[RefreshListsRequest] = lambda _: [Refreshing(("ads",))]
    daemon.instead[ListsRequest] = lambda _: [Lists(1, (next(states),))]

    assert lists(daemon, "refresh", "ads", "--anyway") == 0
    assert daemon.next(RefreshListsRequest) == RefreshListsRequest("ads", anyway=True)
    assert capsys.readouterr().out == "ads: 2 names, 1 network\n"


def test_refresh_fails_with_what_went_wrong(daemon: ScriptedDaemon, capsys: Capture) -> None:
    daemon.instead[RefreshListsRequest] = lambda _: [Refreshing(("ads",))]
    failed = ROW | {"problem": "the server answers 503"}
    daemon.instead[ListsRequest] = lambda _: [Lists(1, (failed,))]

    assert lists(daemon, "refresh") == 1
    assert capsys.readouterr().err == "nfsnitch: ads: the server answers 503\n"


def test_find_names_list_and_line_and_exits_with_1_where_there_is_none(
    daemon: ScriptedDaemon, capsys: Capture
) -> None:
    row = {"list": "ads", "line": 17, "text": "ads.example"}
    daemon.instead[FindListedRequest] = lambda _: [Listed((row,), ("late",))]
    assert lists(daemon, "find", "x.ads.example") == 0
    said = capsys.readouterr()
    daemon.instead[FindListedRequest] = lambda _: [Listed((), ())]
    assert lists(daemon, "find", "x.example") == 1

    assert said.out == "ads: line 17: ads.example\n"
    assert said.err == "nfsnitch: late: there is nothing of this list yet\n"
    assert capsys.readouterr().out == "x.example is on no list\n"


def test_check_says_what_is_on_a_list_and_which_lines_cannot_be_read(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "ads.txt"
    path.write_bytes(b"||ads.example^\n||ads.example^\n||com^\n##.ad\n! title\n||b.example^\n")
    assert cli.main(["lists", "check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()

    assert said[0] == f"{path}: 2 names, 0 networks (adblock, 6 lines)"
    assert [line.split() for line in said[1:5]] == [
        ["1", "listed", "more", "than", "once"],
        ["1", "comments,", "empty", "lines", "and", "names", "of", "this", "machine"],
        ["1", "left", "out:", "hides", "or", "changes", "parts", "of", "pages"],
        ["1", "could", "not", "be", "read:"],
    ]
    assert "line 3: ||com^: a whole top-level domain" in said[5]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("none", None, "No such file"),
        ("page", b"<a>\n<b>\n", "it would not be taken: most of"),
    ],
)
def test_check_fails_where_the_daemon_would_not_take_it(
    tmp_path: Path, capsys: Capture, name: str, text: bytes | None, why: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text)

    assert cli.main(["lists", "check", str(path)]) == 1
    assert why in capsys.readouterr().err


def test_how_far_it_is_shows_as_a_bar_where_the_end_is_known() -> None:
    half = progress_line("ads", "compiling", 500_000, 1_000_000)

    assert half.count("█") == half.count("·") == 15
    assert half.endswith(" 50% of 1,000,000 names")
    assert progress_line("ads", "fetching", 2_048, None) == "ads: fetching, 2,048 bytes"


def asked(desk: ListDesk, request: Request) -> Reply:
    answer = desk.others[type(request)](request, Peer(1, 0, 0, frozenset()))
    assert not hasattr(answer, "__await__")
    return answer


def test_the_daemon_says_how_its_lists_are_and_what_is_on_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"ads.example\n192.0.2.0/24\n")
    with Play(tmp_path / "state") as play:
        desk = ListDesk(play.library)
        play.use(named(path, "mine"), named(tmp_path / "none", "late"))
        play.settled()
        told = asked(desk, ListsRequest(0))
        found = asked(desk, FindListedRequest("A.Ads.Example."))
        address = asked(desk, FindListedRequest("192.0.2.9"))
        with pytest.raises(RefusalError, match="there is no list other; there are: mine, late"):
            asked(desk, RefreshListsRequest("other", anyway=False))
        with pytest.raises(RefusalError, match="write a name as in"):
            asked(desk, FindListedRequest("no\x1bname"))

    assert isinstance(told, Lists)
    assert [row.keys() for row in told.rows] == [ROW.keys()] * 2
    assert (told.rows[0]["names"], told.rows[0]["networks"]) == (1, 1)
    assert found == Listed(({"list": "mine", "line": 1, "text": "ads.example"},), ("late",))
    assert address == Listed(({"list": "mine", "line": 2, "text": "192.0.2.0/24"},), ("late",))
