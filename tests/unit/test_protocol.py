"""The protocol of the control socket: what is said arrives, and nonsense is told as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch import protocol
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    MOST_ANSWERED,
    AnswerRequest,
    Lines,
    Missed,
    ProtocolError,
    Recorded,
    Reply,
    Request,
    Right,
    Why,
    decode_reply,
    decode_request,
    encode,
    encode_record,
)

NUMBERS = st.integers(0, (1 << 64) - 1)
# What the kernel's bytes are decoded to: any text, and lone surrogates for undecodable bytes.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=4)
SECONDS = st.floats(0, 1e18)
OF_TYPE: dict[object, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: NUMBERS,
    float: SECONDS,
    bool: st.booleans(),
    str | None: st.none() | TEXTS,
    int | None: st.none() | NUMBERS,
    float | None: st.none() | SECONDS,
    tuple[str, ...]: st.lists(TEXTS, max_size=3).map(tuple),
    tuple[int, ...]: st.lists(NUMBERS, max_size=3).map(tuple),
    tuple[dict[str, Any], ...]: st.lists(OBJECTS, max_size=2).map(tuple),
    dict[str, str]: st.dictionaries(TEXTS, TEXTS, max_size=3),
    dict[str, int]: st.dictionaries(TEXTS, NUMBERS, max_size=3),
    dict[str, Any]: OBJECTS,
}


def examples(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return messages of one class, with whatever its fields may hold."""
    return st.builds(
        kind,
        **{
            name: OF_TYPE[of]
            for name, of in get_type_hints(kind).items()
            if get_origin(of) is not ClassVar
        },
    )


@pytest.mark.parametrize("kind", protocol.REPLIES.values())
@given(data=st.data())
def test_whatever_the_daemon_says_the_client_understands(
    kind: type[Reply], data: st.DataObject
) -> None:
    reply = data.draw(examples(kind))
    line = encode(reply)

    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert decode_reply(line[:-1]) == reply


@pytest.mark.parametrize("kind", protocol.REQUESTS.values())
@given(data=st.data())
def test_whatever_a_client_asks_the_daemon_understands(
    kind: type[Request], data: st.DataObject
) -> None:
    request = data.draw(examples(kind))

    assert decode_request(encode(request).rstrip(b"\n")) == request


def test_only_what_changes_nothing_can_be_had_with_the_right_to_watch() -> None:
    by_right = {
        right: {name for name, kind in protocol.REQUESTS.items() if kind.right is right}
        for right in Right
    }

    assert by_right == {
        Right.WATCH: {
            *("status", "watch", "owners", "questions", "preview", "silenced"),
            *("rules", "check-rule", "history", "connections", "names"),
            *("lists", "find-listed"),
        },
        Right.ANSWER: {
            *("answer", "mode", "add-rule", "change-rule", "move-rule", "revoke"),
        },
        Right.CONTROL: {"reload", "stop", "refresh-lists"},
    }


def test_each_message_has_a_name_of_its_own_and_is_an_answer_or_comes_by_itself() -> None:
    asked_for = {
        *("status", "watching", "owners", "asking", "answered", "preview", "silenced"),
        *("mode-set", "rules", "checked", "rule-set", "revoked", "history", "connections"),
        *("reloaded", "refused", "names", "lists", "listed", "refreshing"),
    }
    by_itself = {kind.type for kind in protocol.UNASKED}

    assert len(protocol.REPLIES) == len(get_args(Reply))
    assert len(protocol.REQUESTS) == len(get_args(Request))
    assert protocol.REPLIES.keys() == asked_for | by_itself
    assert not asked_for & by_itself


@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_a_record_that_is_text_already_becomes_the_same_message(record: dict[str, Any]) -> None:
    line = encode_record(json.dumps(record))

    assert decode_reply(line) == Recorded(record)


def test_keys_of_a_later_daemon_are_no_obstacle() -> None:
    line = b'{"v": 1, "type": "missed", "count": 3, "since": "yesterday"}'

    assert decode_reply(line) == Missed(3)


@pytest.mark.parametrize(
    ("line", "why", "said"),
    [
        (b"", Why.BAD_MESSAGE, "no JSON"),
        (b"GET / HTTP/1.1", Why.BAD_MESSAGE, "no JSON"),
        (b"\xff\xfe", Why.BAD_MESSAGE, "no JSON"),
        (b"NaN", Why.BAD_MESSAGE, "no JSON"),
        (b"[" * 8_000, Why.BAD_MESSAGE, "no JSON"),
        (b'{"v":' * 2_000, Why.BAD_MESSAGE, "no JSON"),
        (b'{"v":' + b"9" * 8_000 + b"}", Why.BAD_MESSAGE, "no JSON"),
        (b"[1]", Why.BAD_MESSAGE, "no object"),
        (b"{}", Why.BAD_MESSAGE, "version is missing"),
        (b'{"v":2,"type":"status"}', Why.BAD_VERSION, "speaks version 1"),
        (b'{"v":true,"type":"status"}', Why.BAD_VERSION, "speaks version 1"),
        (b'{"v":"1","type":"status"}', Why.BAD_VERSION, "speaks version 1"),
        (b'{"v":1}', Why.BAD_MESSAGE, "type is missing"),
        (b'{"v":1,"type":["status"]}', Why.BAD_MESSAGE, "type is missing or no text"),
        (
            b'{"v":1,"type":"fly"}',
            Why.UNKNOWN_TYPE,
            "known are status, watch, owners, ",
        ),
        (b'{"v":1,"type":"record"}', Why.UNKNOWN_TYPE, "no such message here"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(line: bytes, why: Why, said: str) -> None:
    with pytest.raises(ProtocolError, match=said) as refused:
        decode_request(line)

    assert refused.value.why is why


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "missed"}, "missed: count is missing"),
        ({"type": "missed", "count": -1}, "missed: count is not a whole number"),
        ({"type": "missed", "count": True}, "missed: count is not a whole number"),
        ({"type": "missed", "count": 1.5}, "missed: count is not a whole number"),
        ({"type": "missed", "count": 1 << 64}, "missed: count is not a whole number"),
        ({"type": "record", "record": []}, "record: record is not an object"),
        ({"type": "refused", "why": None, "text": ""}, "refused: why is not text"),
    ],
)
def test_an_answer_with_a_field_of_another_kind_is_refused_by_its_name(
    fields: dict[str, object], said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        decode_reply(json.dumps({"v": 1, **fields}).encode())


def problem_of(decode: Callable[[bytes], object], line: bytes) -> str:
    """Return what is wrong with *line*, nothing if nothing is."""
    try:
        decode(line)
    except ProtocolError as problem:
        return str(problem)
    return ""


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_request_or_refused_and_nothing_else_happens(raw: bytes) -> None:
    assert problem_of(decode_request, raw).isprintable()


@given(st.dictionaries(st.sampled_from(["v", "type", "count", "text"]), JSON))
def test_json_of_any_kind_is_an_answer_or_refused_and_nothing_else_happens(
    content: dict[str, Any],
) -> None:
    line = json.dumps({"v": 1, **content}).encode()
    assert problem_of(decode_reply, line).isprintable()


@given(
    st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=9),
    st.data(),
)
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter = Lines(100)
    got: list[bytes] = []
    while stream:
        at = data.draw(st.integers(1, len(stream)))
        got += cutter.feed(stream[:at])
        stream = stream[at:]

    assert got == lines


def test_a_line_may_be_as_long_as_the_bound_with_its_end_and_no_longer() -> None:
    assert Lines(10).feed(b"123456789\n") == [b"123456789"]
    for pieces in ([b"1234567890\n"], [b"1234567890"], [b"12345", b"67890"]):
        cutter = Lines(10)
        *before, last = pieces
        for piece in before:
            cutter.feed(piece)
        with pytest.raises(ProtocolError, match="longer than 10 bytes"):
            cutter.feed(last)


def test_an_answer_to_as_many_questions_as_may_be_fits_and_one_more_is_refused() -> None:
    numbers = tuple(range(10**9, 10**9 + MOST_ANSWERED))
    answer = AnswerRequest(numbers, "allow", "program", "anywhere", "until 2030-06-30T18:00", None)
    one_more = replace(answer, questions=(*numbers, 1))

    assert len(encode(answer)) < MAX_REQUEST_BYTES < MAX_REPLY_BYTES
    assert decode_request(encode(answer).rstrip(b"\n")) == answer
    with pytest.raises(ProtocolError, match="questions is not a list of up to 1000 whole numbers"):
        decode_request(encode(one_more).rstrip(b"\n"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "answer", "questions": [1]}, "answer: action is missing"),
        ({"type": "answer", "questions": 1}, "answer: questions is not a list"),
        ({"type": "answer", "questions": [True]}, "answer: questions is not a list"),
        ({"type": "answer", "questions": [1.0]}, "answer: questions is not a list"),
        ({"type": "answer", "questions": [-1]}, "answer: questions is not a list"),
        ({"type": "mode", "mode": "ask", "for_s": "1"}, "mode: for_s is not a number or null"),
        ({"type": "mode", "mode": "ask", "for_s": 1e999}, "no JSON"),
        ({"type": "mode", "mode": "ask", "for_s": -1}, "mode: for_s is not a number or null"),
        ({"type": "mode", "mode": None, "for_s": 1}, "mode: mode is not text"),
        ({"type": "revoke", "name": ["x"]}, "revoke: name is not text"),
        ({"type": "history", "before": "1"}, "history: before is not a whole number or null"),
        ({"type": "rules", "kind": "file", "first": None}, "rules: first is not a whole number"),
    ],
)
def test_a_request_with_a_field_of_another_kind_is_refused_by_its_name(
    fields: dict[str, object], said: str
) -> None:
    with pytest.raises(ProtocolError, match=said) as refused:
        decode_request(json.dumps({"v": 1, **fields}).encode())

    assert refused.value.why is Why.BAD_MESSAGE


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ProtocolError, match="for_s is not a number or null"):
        decode_request(b'{"v":1,"type":"mode","mode":"ask","for_s":1e999}')
