"""What the daemon and the process that works on a list say to each other.

The process gets one `Job` on its standard input, and writes lines of JSON to its standard output:
``{"progress": [PHASE, DONE, TOTAL]}`` now and then, and at the end ``{"done": …}`` (`Done`) or
``{"failed": TEXT}``. What it says is looked at as if anybody had said it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

from nfsnitch.core.listing import ListFormat
from nfsnitch.core.text import shown
from nfsnitch.lists.report import Report

MOST_BYTES = 256 << 20
"""Of the text of a list."""
MOST_S = 120.0
"""Until it has been fetched."""
MOST_MESSAGE_BYTES = 1 << 16
_MOST_CHARACTERS = 500
_MOST_NUMBER = 1 << 62


class Phase(StrEnum):
    """What is being done."""

    FETCHING = "fetching"
    READING = "reading"
    COMPILING = "compiling"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with a list."""

    text_fd: int
    """The text: of a file, or where what is fetched goes."""
    out_fd: int
    """Where the compiled form goes."""
    url: str | None = None
    """None: the text is there."""
    format: str = ListFormat.AUTO
    sha256: str | None = None
    """Of the only text that is taken."""
    known_sha256: str | None = None
    """Of the text whose compiled form there is."""
    etag: str | None = None
    last_modified: str | None = None
    least_entries: int = 0
    """One with fewer is not taken."""
    most_bytes: int = MOST_BYTES
    most_s: float = MOST_S

    def encoded(self) -> bytes:
        """Return it as a line."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"

    @classmethod
    def decoded(cls, line: bytes) -> Job:
        """Return what `encoded` made a line of."""
        content = json.loads(line)
        return cls(**{each.name: content[each.name] for each in fields(cls)})


class Progress(NamedTuple):
    """How far it is."""

    phase: Phase
    done: int
    """Bytes while it is fetched, else lines or names."""
    total: int | None
    """None: nobody knows."""


class Done(NamedTuple):
    """It is done."""

    is_new: bool
    """False: what there is, is what it would be again; nothing was compiled."""
    kept_in: str
    """What kept the process in, in words."""
    report: Report | None
    """None where nothing was compiled."""


class Failed(NamedTuple):
    """It could not be done."""

    why: str
    """Fit to be shown."""


Message = Progress | Done | Failed


def encoded(message: Message) -> bytes:
    """Return a message as a line."""
    content: dict[str, Any]
    if isinstance(message, Progress):
        content = {"progress": list(message)}
    elif isinstance(message, Done):
        report = message.report.as_json() if message.report else None
        content = {"done": [message.is_new, message.kept_in, report]}
    else:
        content = {"failed": message.why[:_MOST_CHARACTERS]}
    return json.dumps(content).encode("ascii") + b"\n"


def decoded(line: bytes) -> Message | None:
    """Return the message that *line* is; None: it is none."""
    try:
        content = json.loads(line)
        match content:
            case {"progress": [str(phase), int(done), (int() | None) as total]}:
                return Progress(Phase(phase), _bounded(done), total and _bounded(total))
            case {"done": [bool(is_new), str(kept_in), (dict() | None) as report]}:
                read = None if report is None else Report.from_json(report)
                return Done(is_new, shown(kept_in[:_MOST_CHARACTERS]), read)
            case {"failed": str(why)}:
                return Failed(_fit(why))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None


def _bounded(number: int) -> int:
    if not 0 <= number < _MOST_NUMBER:
        raise ValueError
    return number


def _fit(text: str) -> str:
    text = text[:_MOST_CHARACTERS]
    return text if text.isprintable() else shown(text)
