"""What the daemon and its clients say to each other over the control socket.

Each message is one line of ASCII JSON, an object with the protocol's version and the message's
type: ``{"v":1,"type":"watch"}``. A client sends requests and gets the answers in the order in which
it asked; once it watches, records come in between. Keys that a reader does not know it ignores, so
that fields can be added within one version.

This module is all that a client needs, and imports nothing of the daemon.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NoReturn, TypeVar, get_args, get_type_hints

VERSION = 1
MAX_REQUEST_BYTES = 16_384
"""A request, its line end included."""
MAX_REPLY_BYTES = 1 << 20
"""An answer or a record, its line end included."""

RUN_DIRECTORY = "/run/nfsnitch"

_MAX_NUMBER = 1 << 64


def socket_path(netns: int) -> str:
    """Return the path of the daemon's socket for the namespace with inode number *netns*."""
    return f"{RUN_DIRECTORY}/netns-{netns}.sock"


class Right(StrEnum):
    """What a client may do; a request needs one of them."""

    WATCH = "watch"
    """See what is decided."""
    CONTROL = "control"
    """Change what is in force."""


class Why(StrEnum):
    """Why the daemon refused, for programs; people read the text that comes with it."""

    NOT_ALLOWED = "not-allowed"
    TOO_MANY = "too-many"
    """As many connections as there may be are open already."""
    BAD_MESSAGE = "bad-message"
    BAD_VERSION = "bad-version"
    UNKNOWN_TYPE = "unknown-type"
    NOT_SUPPORTED = "not-supported"
    SILENT = "silent"
    """Nothing was asked for too long."""
    FAILED = "failed"
    """The daemon failed on the request."""


class ProtocolError(Exception):
    """A message that cannot be read; *why* for programs, the text for people."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Say how you are. Answer: `Status`."""

    type: ClassVar[str] = "status"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Send every record from now on. Answer: `Watching`, then `Recorded` and `Missed`."""

    type: ClassVar[str] = "watch"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class OwnersRequest:
    """Let me list who owns which socket. Answer: `Owners`."""

    type: ClassVar[str] = "owners"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """Read the rules again. Answer: `Reloaded`, whether or not they could be used."""

    type: ClassVar[str] = "reload"
    right: ClassVar[Right] = Right.CONTROL


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Stop cleanly. Answer: `Stopping`; the connection ends with the daemon."""

    type: ClassVar[str] = "stop"
    right: ClassVar[Right] = Right.CONTROL


@dataclass(frozen=True, slots=True)
class Status:
    """How the daemon is."""

    type: ClassVar[str] = "status"

    version: str
    pid: int
    uptime_s: float
    netns: int
    """Inode number of the network namespace in which it enforces."""
    queue_num: int
    queueing: str
    """What hands packets to the queue: ``nft`` or ``iptables``."""
    queue_waiting: int
    """Packets in the kernel's queue that have no verdict, the held ones included."""
    queue_length: int
    """As many may wait."""
    attach: str
    """The attach mode of the eBPF programs."""
    attach_why: str
    rule_files: tuple[str, ...]
    """Paths as they were given."""
    rules: int
    generation: int
    """Which rules these are: 1 at the start, one more with each reload."""
    default: str
    unattributed: str
    unanswered: str
    fail: str
    """What becomes of new flows without a daemon: ``closed`` or ``open``."""
    held_flows: int
    held_limit: int
    memory_bytes: int
    """Resident memory."""
    watchers: int
    counters: dict[str, int]
    """Every counter by its name (`core.counters.Counter`), those that are 0 as well."""


@dataclass(frozen=True, slots=True)
class Watching:
    """From here on records follow."""

    type: ClassVar[str] = "watching"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision."""

    type: ClassVar[str] = "record"

    record: dict[str, Any]
    """As ``run --records`` writes it (`core.record.Record.as_json`)."""


@dataclass(frozen=True, slots=True)
class Missed:
    """So many records were dropped here, since the client had not read those before."""

    type: ClassVar[str] = "missed"

    count: int


@dataclass(frozen=True, slots=True)
class Owners:
    """With this come file descriptors (SCM_RIGHTS, unix(7)) to read, one for each name."""

    type: ClassVar[str] = "owners"

    files: tuple[str, ...]
    """What each lists: ``owners``, ``images``."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload; with a problem, the old rules stay in force."""

    type: ClassVar[str] = "reloaded"

    generation: int
    rules: int
    cut_flows: int
    """Established flows that the new rules refuse, and that were cut."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon stops, asked by this client or by somebody else."""

    type: ClassVar[str] = "stopping"


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not carried out."""

    type: ClassVar[str] = "refused"

    why: str
    """A value of `Why`, or one of a later version."""
    text: str


Request = StatusRequest | WatchRequest | OwnersRequest | ReloadRequest | StopRequest
Reply = Status | Watching | Recorded | Missed | Owners | Reloaded | Stopping | Refused

_Message = TypeVar("_Message", Request, Reply)

REQUESTS: dict[str, type[Request]] = {each.type: each for each in get_args(Request)}
"""What clients may send. A new request is a class above and a word here."""
REPLIES: dict[str, type[Reply]] = {each.type: each for each in get_args(Reply)}
"""What the daemon may send."""


def encode(message: Request | Reply) -> bytes:
    """Return the message as a line."""
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    content = {"v": VERSION, "type": message.type, **fields}
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"


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


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _counts(value: object) -> dict[str, int]:
    return {name: _whole(count) for name, count in _object(value).items()}


_Reader = Callable[[object], Any]

_READERS: dict[object, tuple[_Reader, str]] = {
    str: (_text, "text"),
    int: (_whole, "a whole number"),
    float: (_seconds, "a number"),
    str | None: (_text_or_none, "text or null"),
    tuple[str, ...]: (_texts, "a list of texts"),
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
