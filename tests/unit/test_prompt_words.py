"""A question in words, durations, and text cut to columns."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.prompt.choices import Choices
from nfsnitch.prompt.columns import fitted, padded, width, without_middle, wrapped
from nfsnitch.prompt.durations import duration, in_words, seconds
from nfsnitch.prompt.picture import picture
from nfsnitch.prompt.prompter import Prompter
from nfsnitch.prompt.session import Session
from nfsnitch.prompt.words import facts, headline, in_short
from nfsnitch.protocol import Asked, Asking, decode_reply, encode
from scripted_daemon import question

NOON = datetime(2030, 6, 30, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fixture_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (question(1), "curl wants to connect to 192.0.2.1 port 443 (https)"),
        (
            question(1, flow={"proto": "udp", "daddr": "2001:db8::1", "dport": 53}),
            "curl wants to send udp to 2001:db8::1 port 53 (domain)",
        ),
        (
            question(1, flow={"proto": "icmp", "dport": {"unknown": "none"}, "icmp_type": 8}),
            "curl wants to send icmp (type 8) to 192.0.2.1",
        ),
        (
            question(1, owner={"script": "/opt/backup.py", "exe": "/usr/bin/python3.11"}),
            "backup.py (by python3.11) wants to connect to 192.0.2.1 port 443 (https)",
        ),
        (
            question(1, owner={"desktop": {"entry": "x", "name": "Web", "icon": None}}),
            "Web (curl) wants to connect to 192.0.2.1 port 443 (https)",
        ),
        (
            question(1, owner={"owner": "kernel"}),
            "the kernel itself wants to connect to 192.0.2.1 port 443 (https)",
        ),
        (
            question(1, owner={"owner": "unknown"}, flow={"daddr": {"unknown": "too short"}}),
            "an unknown program wants to connect to an unknown place (not known: too short)",
        ),
    ],
)
def test_a_headline_says_who_wants_what(asked: Asked, sentence: str) -> None:
    assert headline(asked) == sentence


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
OWNER = ("owner", "exe", "pid", "uid", "user", "comm", "args", "parents", "opener", "script")
MORE = ("desktop", "changed", "sha256", "package", "unit", "exe_deleted", "exe_inside")
FLOW = ("proto", "daddr", "dport", "icmp_type")


def any_of(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with some of these fields, of any kind."""
    return st.dictionaries(st.sampled_from(names), VALUES | st.just("process"))


@given(
    any_of(OWNER + MORE),
    any_of(FLOW),
    st.text(),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.tuples(st.integers(1, 120), st.integers(1, 60)),
)
def test_a_question_of_any_shape_fits_any_screen_and_cannot_write_to_it(
    owner: dict[str, Any],
    flow: dict[str, Any],
    text: str,
    scope: dict[str, str],
    size: tuple[int, int],
) -> None:
    others = {"iface": text, "reason": text, "since": text, "who": scope, "where": scope}
    asked = question(1, owner=owner, flow=flow, rivals=(owner,), **others)
    asked = Asked(**json.loads(json.dumps({n: getattr(asked, n) for n in Asked.__slots__})))
    session = Session(lambda: 0.0)
    session.connected(lambda _request, then: then(Asking(("answer",), text, 5.0, 30.0, text)))
    prompter = Prompter(session, lambda _text, _then: None, str)
    session.hear(decode_reply(encode(asked)))
    session.hear(decode_reply(encode(question(2))))

    for fact in facts(asked):
        assert fact.text.isprintable()
    assert in_short(asked).isprintable()
    lines = ["".join(text for _, text in line) for line in picture(prompter, *size)]
    assert len(lines) <= size[1]
    assert all(line.isprintable() for line in lines)
    assert all(width(line) <= size[0] for line in lines)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("once", "once"),
        ("process", "process"),
        ("restart", "restart"),
        ("forever", "forever"),
        ("15m", "15m"),
        (" 24h ", "24h"),
        ("until 18:00", "until 2030-06-30T18:00:00Z"),
        ("until 11:59", "until 2030-07-01T11:59:00Z"),
        ("until 2030-07-03", "until 2030-07-04T00:00:00Z"),
        ("until 2030-07-03 08:30", "until 2030-07-03T08:30:00Z"),
        ("until 2030-07-03T08:30+02:00", "until 2030-07-03T06:30:00Z"),
    ],
)
def test_a_duration_is_what_the_daemon_calls_it(text: str, meant: str) -> None:
    assert duration(text, NOON) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "often", "0m", "25h", "1441m", "-5m", "5", "15m 15m", "٣m"),
        *("until", "until noon", "until 25:00", "until 2030-02-30", "until 2030-06-30T11:00"),
    ],
)
def test_what_is_no_duration_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"no length of time|no time|over already"):
        duration(text, NOON)


def test_a_length_of_time_in_seconds() -> None:
    assert [seconds(each) for each in ("90s", "15m", "8h", "2d")] == [90, 900, 28_800, 172_800]
    for nonsense in ("", "0s", "5", "1w", "1.5h", "٣m", "1" * 9 + "d"):
        with pytest.raises(ValueError, match="no length of time"):
            seconds(nonsense)


def test_durations_in_words() -> None:
    assert in_words("15m") == "for 15m"
    assert in_words("until 2030-06-30T18:00:00Z") == "until 2030-06-30 18:00"
    assert in_words("until \x1b") == r"until \x1b"


def test_a_choice_that_a_question_does_not_offer_falls_back_to_one_it_does() -> None:
    choices = Choices(who="unit", where="network")

    assert choices.who_for(question(1)) == "unit"
    assert choices.who_for(question(1, who={"owner": "the kernel"})) == "owner"
    assert choices.where_for(question(1)) == "address-port"
    choices.next_who(question(1))
    assert choices.who == "user"


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" ")), st.integers(2, 40))
def test_text_is_cut_and_wrapped_to_columns_and_nothing_else_is_lost(
    text: str, columns: int
) -> None:
    lines = list(wrapped(text, columns))

    assert all(width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert width(fitted(text, columns)) <= columns
    assert width(padded(text, columns)) == columns


def test_wide_characters_count_twice_and_marks_not_at_all() -> None:
    assert width("防火墙") == 6
    assert width("e\u0301") == 1
    assert fitted("防火墙", 5) == "防火…"
    assert without_middle("/usr/lib/a/program", 10) == "/usr…ogram"
