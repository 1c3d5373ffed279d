"""Values of scenario files: names of places, ranges, times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.reading import substituted
from scenario_text import told_of_step


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$good", "/p/good"),
        ("${good}er", "/p/gooder"),
        ("a $good, $block.list.", "a /p/good, /p/block.list."),
        ("$folder/x-$good-", "/p/x-/p/good-"),
        ("$$good costs 5$ or $5", "$good costs 5$ or $5"),
        ("^a$|b$", "^a$|b$"),
        ("", ""),
    ],
)
def test_names_are_replaced_by_their_places(text: str, result: str) -> None:
    places = {"good": "/p/good", "block.list": "/p/block.list", "folder": "/p"}

    assert substituted(text, places) == result


@pytest.mark.parametrize("text", ["$goood", "${god}", "$good.pem", "${}", "$block"])
def test_a_name_that_stands_for_nothing_is_not_replaced(text: str) -> None:
    with pytest.raises(Refused, match="there is no program and no file"):
        substituted(text, {"good": "/p/good", "block.list": "/p/b"})


@given(st.dictionaries(st.sampled_from(["a", "b", "c.d"]), st.text(max_size=5)), st.text())
def test_no_text_is_replaced_twice_or_breaks_the_replacing(
    places: dict[str, str], text: str
) -> None:
    doubled = text.replace("$", "$$")
    assert substituted(doubled, places) == text
    try:
        substituted(text, places)
    except Refused as refused:
        assert "no program and no file" in refused.why  # noqa: PT017  others are right as well


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("3", 3, 3),
        ("-3", -3, -3),
        ("0.5", 0.5, 0.5),
        (">= 3", 3, math.inf),
        (">=3", 3, math.inf),
        ("<= 3", -math.inf, 3),
        ("3..5", 3, 5),
        ("-5..-3", -5, -3),
    ],
)
def test_ranges_are_inclusive(text: str, least: float, most: float) -> None:
    found = values.range_of(text)

    assert (found.least, found.most, found.text) == (least, most, text)
    assert least in found
    assert most in found
    assert math.isinf(least) or least - 0.1 not in found
    assert math.isinf(most) or most + 0.1 not in found


@pytest.mark.parametrize("text", ["", "x", "> 3", "3..", "..3", "3...5", "1e9", "3 .. 5", "nan"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        values.range_of(text)


@pytest.mark.parametrize("text", ["> 0", "<5", ">-1.5"])
def test_greater_and_less_are_refused_where_a_text_could_be_meant(text: str) -> None:
    line = told_of_step(f"expect: {{record: {{held_ms: '{text}'}}}}")

    assert "held_ms: a range has its ends in it; write a number, '>= 3', '<= 3' or '3..5'" in line


@pytest.mark.parametrize("text", [">", "<unknown>", ">x 3", "> 3 <"])
def test_texts_with_such_signs_are_texts(text: str) -> None:
    assert values.value(text) == text


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("1ms", 10**6), ("1.5s", 15 * 10**8), ("2m", 120 * 10**9), ("24h", values.MOST_NS)],
)
def test_times_have_a_unit(text: str, time_ns: int) -> None:
    assert values.duration_ns(text) == time_ns
    assert values.jump_ns(f"+{text}") == time_ns
    assert values.jump_ns(f"-{text}") == -time_ns
    with pytest.raises(Refused, match="forward or back"):
        values.jump_ns(text)
