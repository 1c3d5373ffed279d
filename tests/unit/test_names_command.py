"""What is known of names, as the daemon lists it and ``nfsnitch names`` shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from naming_play import NamePlay, user_process
from nfsnitch import cli
from nfsnitch.adapters.peer import Peer
from nfsnitch.asking.names import NameListing
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol import MOST_NAMES, KnownNames, NamesRequest
from scripted_daemon import Row, ScriptedDaemon

ME = Peer(1, 0, 0, frozenset())


def test_the_daemon_lists_what_is_known_some_at_a_time() -> None:
    play = NamePlay()
    for at in range(MOST_NAMES + 3):
        play.resolves(user_process(pid=at + 1), f"n{at}.example", "192.0.2.1", ttl_s=100)
    listing = NameListing(play.names, lambda: 10_000_000_000)
    first = listing.reply(NamesRequest(0), ME)
    rest = listing.reply(NamesRequest(MOST_NAMES), ME)
    assert (first.total, len(first.rows), len(rest.rows)) == (MOST_NAMES + 3, MOST_NAMES, 3)
    assert first.rows[0] == {
        "name": "n0.example",
        "source": "dns",
        "age_s": 10.0,
        "ttl_s": 100,
        "stale": False,
        "resolver": "192.0.2.53",
        "aliases": [],
        "address": "192.0.2.1",
        "pid": 1,
        "start_time": 5_000_000_000,
        "exe": "/usr/bin/curl",
        "uid": 1_000,
        "netns": 4_026_531_840,
        "counts_s": 3_690.0,
    }


def test_a_listing_of_no_process_says_why() -> None:
    play = NamePlay()
    asker = user_process(netns=Unknown("it was gone"))
    play.resolves(asker, "www.example.org", "192.0.2.1")
    reply = NameListing(play.names, lambda: 0).reply(NamesRequest(0), ME)
    assert isinstance(reply, KnownNames)
    assert reply.rows[0]["netns"] == {"unknown": "it was gone"}


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    daemon.names = [
        row("www.example.org", age_s=10.0, aliases=["cdn.example"]),
        row("\x1b[2Jevil", address="2001:db8::1", pid=7, source="libc", resolver=None, ttl_s=None),
        row("mail.example.org", age_s=400.0, stale=True, counts_s=54.0),
    ]
    yield daemon
    daemon.hang_up()


def row(text: str, **others: Any) -> Row:  # noqa: ANN401  any field
    fields: Row = {"name": text, "source": "dns", "age_s": 1.0, "ttl_s": 300, "stale": False}
    fields |= {"resolver": "192.0.2.53", "aliases": [], "address": "192.0.2.1", "pid": 4_711}
    fields |= {"start_time": 5, "exe": "/usr/bin/curl", "uid": 0, "netns": 1, "counts_s": 3_600.0}
    return fields | others


def listed(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    assert cli.main(["names", *argv, "--socket", str(daemon.path)]) == 0
    return capsys.readouterr().out.splitlines()


def test_names_are_listed_with_who_asked_where_from_and_for_how_long(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(daemon, capsys) == [
        "NAME              ADDRESS      ASKED BY     USER  FROM            AGE    HOLDS",
        "\\x1b[2Jevil       2001:db8::1  curl [7]     root  libc            1 s    60 min",
        "mail.example.org  192.0.2.1    curl [4711]  root  dns 192.0.2.53  7 min  stale, 54 s more",
        "www.example.org   192.0.2.1    curl [4711]  root  dns 192.0.2.53  10 s   5 min",
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["*.example.org"], ["mail.example.org", "www.example.org"]),
        (["WWW.example.org."], ["www.example.org"]),
        (["cdn"], ["www.example.org"]),
        (["2001:db8::1"], ["\x1b[2Jevil"]),
        (["--pid", "7"], ["\x1b[2Jevil"]),
    ],
)
def test_names_are_found_by_pattern_alias_address_and_process(
    daemon: ScriptedDaemon,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    found: list[str],
) -> None:
    lines = listed(daemon, capsys, *words, "--json")
    assert sorted(json.loads(line)["name"] for line in lines) == sorted(found)


def test_where_no_name_is_known_that_is_said(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.names = []
    assert listed(daemon, capsys) == [
        "no name is known: no program has asked for one that still counts"
    ]
