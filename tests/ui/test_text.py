"""Text from outside: shown as it is, bounded, and never taken for markup."""

from __future__ import annotations

import pytest
from PyQt6.QtWidgets import QApplication

from nfsnitch_ui.facts import full_text
from nfsnitch_ui.hosts import host_facts
from nfsnitch_ui.rule_editor import with_action, with_enabled
from nfsnitch_ui.text import ElidedLabel, apart, for_button, is_plain, shown, tooltip
from nfsnitch_ui.words import place, port_text, sentence, time_left
from ui import examples

pytestmark = pytest.mark.ui

SHALOM = "\u05e9\u05dc\u05d5\u05dd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Grüße 東京", "Grüße 東京"),
        ("a\x1b[0m\n", "a\\x1b[0m\\x0a"),
        ("a\\x1b", "a\\\\x1b"),
        ("\u202etxt\u2066", "\\u202etxt\\u2066"),
        ("\udcff", "\\xff"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_long_text_loses_its_middle() -> None:
    assert shown("a" * 400 + "b" * 400, 100) == "a" * 50 + "…" + "b" * 50


def test_tooltips_take_no_markup() -> None:
    assert tooltip("<img src='x'>&amp;") == "<qt>&lt;img src=&#x27;x&#x27;&gt;&amp;amp;</qt>"
    assert len(tooltip("x" * 1_000_000)) < 3_000


def test_right_to_left_text_stays_by_itself() -> None:
    assert apart("curl") == "curl"
    assert apart(SHALOM) == "\u2068" + SHALOM + "\u2069"


def test_an_ampersand_on_a_button_is_no_key() -> None:
    assert for_button("R&D") == "R&&D"


def test_an_editor_holds_only_what_it_shows() -> None:
    assert is_plain("name: x\nargs: 'a\\b'\n")
    assert not is_plain("name: \u202ex\n")


def test_a_label_that_is_too_narrow_leaves_out_the_middle(application: QApplication) -> None:
    assert application is not None
    label = ElidedLabel("/usr/lib/a/very/long/path/to/some/program")
    label.resize(120, 20)
    label.show()
    assert label.text().startswith("/usr")
    assert label.text().endswith("gram")
    assert "…" in label.text()
    label.close()


def test_rules_get_another_action() -> None:
    assert with_action("name: x\naction: allow\n", "deny") == "name: x\naction: deny\n"
    assert with_action("{name: x}\n", "deny") == "{name: x}\n"


def test_rules_are_switched_off_once() -> None:
    rule = "name: x\naction: deny\nexe: /a\n"
    off = "name: x\naction: deny\nenabled: false\nexe: /a\n"
    assert with_enabled(rule, is_enabled=False) == off
    assert with_enabled(off, is_enabled=False) == off
    assert with_enabled(off, is_enabled=True) == rule


def test_destinations_are_named() -> None:
    assert place(examples.flow("2001:db8::1", 53)) == "[2001:db8::1]:53"
    assert port_text(examples.flow(dport=53, proto="udp")) == "53 (domain)"
    assert port_text({"proto": "tcp", "dport": {"unknown": "a fragment"}}) is None
    assert port_text({"proto": "tcp", "dport": 10**30}) == str(10**30)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (examples.flow(), "curl wants to connect to 192.0.2.1, port 443 (https)"),
        (
            {"proto": "icmp", "daddr": "192.0.2.9", "icmp_type": 8, "icmp_code": 0},
            "curl wants to ping 192.0.2.9",
        ),
        (
            examples.flow(dport=53, proto="udp"),
            "curl wants to send to 192.0.2.1, port 53 (domain)",
        ),
        (
            {"proto": "tcp", "daddr": "192.0.2.9", "dport": 22, "host": "host.example"},
            "curl wants to connect to host.example, port 22 (ssh)",
        ),
        (
            {
                "proto": "tcp",
                "daddr": "192.0.2.9",
                "dport": 22,
                "host": {"ambiguous": ["a.example", "\u202eb.example"]},
            },
            "curl wants to connect to 192.0.2.9 (a.example or \\u202eb.example), port 22 (ssh)",
        ),
    ],
)
def test_a_question_is_one_sentence(flow: examples.Json, expected: str) -> None:
    to = {"daddr": "", "dport": 0, **flow} if flow["proto"] != "icmp" else {**flow, "dport": None}
    assert sentence(examples.asked(1, None, to)) == expected


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [(-1, "0 s"), (99, "99 s"), (300, "5 min"), (5_900, "98 min"), (86_400, "24 h")],
)
def test_times_are_in_the_unit_that_a_person_would_use(left_s: float, expected: str) -> None:
    assert time_left(left_s) == expected


def test_everything_is_said_in_full_with_reasons() -> None:
    text = full_text({"exe": "/opt/\x1b", "pid": {"unknown": "it is gone"}, "args": ["a", "b\n"]})
    assert text == "exe: /opt/\\x1b\npid: (it is gone)\nargs:\n    a\n    b\\x0a"


def _told(flow: examples.Json) -> list[tuple[str, str, bool]]:
    return [(fact.label, fact.text, fact.is_loud) for fact in host_facts(flow)]


def test_the_details_say_where_a_name_came_from() -> None:
    name = {
        "name": "www.example.org",
        "source": "dns",
        "own": False,
        "age_s": 400,
        "stale": True,
        "resolver": "192.0.2.53",
        "aliases": ["\x1bcdn.example"],
    }
    assert _told({"host": "www.example.org", "names": [name]}) == [
        ("Host", "www.example.org", False),
        (
            "Name",
            (
                "another program asked DNS, 192.0.2.53 answered, 7 min ago,"
                " stale since, an alias of \\x1bcdn.example"
            ),
            False,
        ),
    ]


def test_the_details_say_aloud_that_a_host_is_ambiguous_and_why_it_is_not_known() -> None:
    several = {"host": {"ambiguous": ["a.example", "b.example", "c.example", "d.example"]}}
    text = "ambiguous: a.example or b.example or c.example or 1 other"
    assert _told(several) == [("Host", text, True)]
    assert _told({"host": {"unknown": "nobody asked"}}) == [("Host", "nobody asked", False)]
    assert _told({}) == []
    assert _told({"host": 5, "names": [5, {"aliases": 7}]}) == [
        ("Host", "5", False),
        ("Name", "?: ?", False),
        ("Name", "?: ?", False),
    ]
