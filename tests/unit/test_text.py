"""Hostile text is kept byte for byte, and shown harmlessly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.text import decoded, encoded, shown


@given(st.binary())
def test_text_gives_back_the_bytes_it_was_made_of(raw: bytes) -> None:
    assert encoded(decoded(raw)) == raw


@given(st.binary())
def test_shown_text_can_neither_move_the_cursor_nor_break_the_line(raw: bytes) -> None:
    assert shown(decoded(raw)).isprintable()


@given(st.text(), st.text())
def test_two_different_texts_are_never_shown_alike(one: str, other: str) -> None:
    assert (shown(one) == shown(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/usr/bin/curl", "/usr/bin/curl"),
        ("/opt/Käse", "/opt/Käse"),
        ("\x1b[2Jfake", "\\x1b[2Jfake"),
        ("right\u202eleft", "right\\u202eleft"),
        ("a\\b", "a\\\\b"),
        ("\udcff", "\\xff"),
        ("two\nlines", "two\\x0alines"),
    ],
)
def test_what_could_deceive_is_shown_as_an_escape(text: str, expected: str) -> None:
    assert shown(text) == expected
