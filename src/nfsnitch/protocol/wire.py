"""Messages as lines of JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, get_type_hints

from nfsnitch.protocol.replies import REPLIES, Recorded, Reply
from nfsnitch.protocol.requests import REQUESTS, Request
from nfsnitch.protocol.words import MOST_ANSWERED, VERSION, Why

_MAX_NUMBER = 1 << 64
_JSON = json.JSONEncoder(separators=(",", ":"))
_Reader = Callable[[object], Any]


class ProtocolError(Exception):
    """A message that cannot be read; *why* for programs, the text for people."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


_Message = TypeVar("_Message", Request, Reply)


def encode(message: Request | Reply) -> bytes:
    """Return the message as a line."""
    fields = {name: getattr(message, name) for name in _FIELDS[type(message).__name__]}
    content = {"v": VERSION, "type": message.type, **fields}
    return _JSON.encode(content).encode("ascii") + b"\n"


def encode_record(record: str) -> bytes:
    """Return `Recorded` as a line, given the record as a line of JSON without its end."""
    return f'{{"v":{VERSION},"type":"{Recorded.type}","record":{record}}}\n'.encode("ascii")


def decode_request(line: bytes) -> Request:
    """Return the request that *line* is.

    Raises:
        ProtocolError: it is none.

    """
    return _decoded(line, REQUESTS)


def decode_reply(line: bytes) -> Reply:
    """Return the daemon's message that *line* is.

    Raises:
        ProtocolError: it is none.

    """
    return _decoded(line, REPLIES)


class Lines:
    """Cuts what comes out of a socket into lines, none of which can fill the memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the lines that are whole now, without their ends.

        Raises:
            ProtocolError: a line is too long; the rest cannot be told from it, so read no more.

        """
        *whole, rest = data.split(b"\n")
        lines: list[bytes] = []
        for piece in whole:
            self._append(piece)
            lines.append(bytes(self._partial))
            self._partial.clear()
        self._append(rest)
        return lines

    def _append(self, piece: bytes) -> None:
        self._partial += piece
        if len(self._partial) >= self._max_bytes:
            self._partial.clear()
            text = f"the message is longer than {self._max_bytes} bytes"
            raise ProtocolError(Why.BAD_MESSAGE, text)


def _decoded(line: bytes, types: dict[str, type[_Message]]) -> _Message:
    content = _object_in(line)
    if "v" not in content:
        _bad("the version is missing; write one JSON object a line, with v and type")
    if not _is_number(content["v"]) or content["v"] != VERSION:
        text = f"this side speaks version {VERSION} of the protocol; use the same nfsnitch on both"
        raise ProtocolError(Why.BAD_VERSION, text)
    name = content.get("type")
    if not isinstance(name, str):
        _bad("the type is missing or no text")
    if name not in types:
        text = f"there is no such message here; known are {', '.join(types)}"
        raise ProtocolError(Why.UNKNOWN_TYPE, text)
    return _built(types[name], content)


def _object_in(line: bytes) -> dict[str, Any]:
    try:
        # ValueError: no JSON, no UTF-8, a number of thousands of digits.
        content = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        _bad("it is no JSON")
    if not isinstance(content, dict):
        _bad("it is JSON, but no object")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _built(kind: type[_Message], content: dict[str, Any]) -> _Message:
    values: dict[str, Any] = {}
    for name, (read, wanted) in _FIELDS[kind.__name__].items():
        if name not in content:
            _bad(f"{kind.type}: {name} is missing")
        try:
            values[name] = read(content[name])
        except TypeError:
            _bad(f"{kind.type}: {name} is not {wanted}")
    return kind(**values)


def _bad(text: str) -> NoReturn:
    raise ProtocolError(Why.BAD_MESSAGE, text)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER


def _whole(value: object) -> int:
    if not _is_number(value):
        raise TypeError
    return value  # type: ignore[return-value]  # looked at above


def _seconds(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < _MAX_NUMBER
    ):
        raise TypeError
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _objects(value: object) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_object, value))


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MOST_ANSWERED:
        raise TypeError
    return tuple(map(_whole, value))


def _labels(value: object) -> dict[str, str]:
    return {name: _text(text) for name, text in _object(value).items()}


def _or_none(read: _Reader) -> _Reader:
    return lambda value: None if value is None else read(value)


def _counts(value: object) -> dict[str, int]:
    return {name: _whole(count) for name, count in _object(value).items()}


_READERS: dict[object, tuple[_Reader, str]] = {
    str: (_text, "text"),
    int: (_whole, "a whole number"),
    float: (_seconds, "a number"),
    bool: (_truth, "true or false"),
    str | None: (_or_none(_text), "text or null"),
    int | None: (_or_none(_whole), "a whole number or null"),
    float | None: (_or_none(_seconds), "a number or null"),
    tuple[str, ...]: (_texts, "a list of texts"),
    tuple[int, ...]: (_numbers, f"a list of up to {MOST_ANSWERED} whole numbers"),
    tuple[dict[str, Any], ...]: (_objects, "a list of objects"),
    dict[str, str]: (_labels, "an object of texts"),
    dict[str, int]: (_counts, "an object of whole numbers"),
    dict[str, Any]: (_object, "an object"),
}
"""How a field of each type is read, and what it has to be."""


_FIELDS: dict[str, dict[str, tuple[_Reader, str]]] = {
    kind.__name__: {
        field.name: _READERS[get_type_hints(kind)[field.name]] for field in dataclasses.fields(kind)
    }
    for kind in (*REQUESTS.values(), *REPLIES.values())
}
"""Class → field → how it is read."""
