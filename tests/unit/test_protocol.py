"""The protocol of the control socket: what is said arrives, and nonsense is told as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch import protocol
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Lines,
    Missed,
    Owners,
    ProtocolError,
    Recorded,
    Refused,
    Reloaded,
    Reply,
    Request,
    Right,
    Status,
    Stopping,
    StopRequest,
    Watching,
    WatchRequest,
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
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(
        Status,
        **dict.fromkeys(("version", "queueing", "attach", "attach_why"), TEXTS),
        **dict.fromkeys(("default", "unattributed", "unanswered", "fail"), TEXTS),
        **dict.fromkeys(("pid", "netns", "queue_num", "queue_waiting", "queue_length"), NUMBERS),
        **dict.fromkeys(("rules", "generation", "held_flows", "held_limit"), NUMBERS),
        **dict.fromkeys(("memory_bytes", "watchers"), NUMBERS),
        uptime_s=st.floats(0, 1e18),
        rule_files=st.lists(TEXTS, max_size=3).map(tuple),
        counters=st.dictionaries(TEXTS, NUMBERS, max_size=3),
    ),
    st.just(Watching()),
    st.builds(Recorded, st.dictionaries(TEXTS, JSON, max_size=4)),
    st.builds(Missed, NUMBERS),
    st.builds(Owners, st.lists(TEXTS, max_size=3).map(tuple)),
    st.builds(Reloaded, NUMBERS, NUMBERS, NUMBERS, st.none() | TEXTS),
    st.just(Stopping()),
    st.builds(Refused, TEXTS, TEXTS),
)


@given(REPLIES)
def test_whatever_the_daemon_says_the_client_understands(reply: Reply) -> None:
    line = encode(reply)

    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert decode_reply(line[:-1]) == reply


@pytest.mark.parametrize("request_type", protocol.REQUESTS.values())
def test_whatever_a_client_asks_the_daemon_understands(request_type: type[Request]) -> None:
    assert decode_request(encode(request_type()).rstrip(b"\n")) == request_type()


def test_only_what_changes_nothing_can_be_had_with_the_right_to_watch() -> None:
    rights = {name: kind.right for name, kind in protocol.REQUESTS.items()}

    assert rights == {
        "status": Right.WATCH,
        "watch": Right.WATCH,
        "owners": Right.WATCH,
        "reload": Right.CONTROL,
        "stop": Right.CONTROL,
    }


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


def test_every_request_is_far_below_the_bound() -> None:
    requests: list[Request] = [StopRequest(), WatchRequest()]
    assert max(len(encode(each)) for each in requests) * 100 < MAX_REQUEST_BYTES < MAX_REPLY_BYTES
