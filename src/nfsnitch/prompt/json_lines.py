"""The prompter for scripts: what the daemon says and what it is asked, as lines of JSON."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from nfsnitch.control_client import ControlError, NotAllowedError, NotRunningError
from nfsnitch.core.text import shown
from nfsnitch.output import discard_output
from nfsnitch.prompt.ending import AGAIN_S, Ending, failed
from nfsnitch.prompt.link import Link
from nfsnitch.protocol import (
    MAX_REQUEST_BYTES,
    ONCE,
    VERSION,
    Lines,
    ProtocolError,
    QuestionsRequest,
    Refused,
    Reply,
    Where,
    Who,
    Why,
    decode_request,
    encode,
)

_READ_BYTES = 1 << 16
_SCOPE = {"who": Who.PROGRAM, "where": Where.ADDRESS_PORT, "duration": ONCE}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "answer": {**_SCOPE, "rule": None},
    "preview": _SCOPE,
    "mode": {"for_s": None},
    "silenced": {"first": 0},
    "rules": {"first": 0},
    "history": {"before": None},
}
"""Fields that a request may leave away."""


class _NobodyReadsError(Exception):
    """Standard output is closed."""


class JsonLines:
    """Passes messages on, both ways, until the daemon is gone or no more requests come."""

    def __init__(self, path: Path, *, follows: bool) -> None:
        self._path, self._follows = path, follows
        self._link: Link | None = None
        self._stdin = sys.stdin.fileno()
        self._input = Lines(MAX_REQUEST_BYTES)
        self._has_more_input = True
        self._has_stopped = False

    def run(self) -> Ending:
        """Pass messages on; return how it ended."""
        try:
            while (ending := self._turn()) is None:
                pass
        except ControlError as error:
            return failed(error)
        except _NobodyReadsError:
            return Ending(0)
        finally:
            self._hang_up()
        return ending

    def _turn(self) -> Ending | None:
        """Do what there is to do; return the end when it has come."""
        if self._link is None and not self._connect():
            time.sleep(AGAIN_S)
            return None
        if not self._has_more_input and self._link is not None and not self._link.waits:
            return Ending(0)
        ready = self._wait()
        if self._link is not None and self._link.fileno() in ready and not self._link.read():
            self._hang_up()
            if not self._follows:
                return self._lost()
        if self._stdin in ready:
            self._read_input()
        return None

    def _connect(self) -> bool:
        try:
            self._link = Link(self._path, self._hear)
        except NotRunningError:
            if not self._follows:
                raise
            return False
        self._has_stopped = False
        self._link.ask(QuestionsRequest(), self._begin)
        return True

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _lost(self) -> Ending:
        if self._has_stopped:
            return Ending(0, "the daemon has stopped")
        return Ending(NotRunningError.exit_status, "the daemon is gone, without a word")

    def _wait(self) -> set[int]:
        """Return what can be read; the end of whoever reads our output ends us, too."""
        poll = select.poll()
        if self._link is not None:
            poll.register(self._link.fileno(), select.POLLIN)
        if self._has_more_input:
            poll.register(self._stdin, select.POLLIN)
        poll.register(sys.stdout, 0)  # POLLERR alone: the reader of the pipe is gone
        events = dict(poll.poll())
        if events.get(sys.stdout.fileno(), 0) & (select.POLLERR | select.POLLNVAL):
            discard_output()
            raise _NobodyReadsError
        return set(events)

    def _read_input(self) -> None:
        data = os.read(self._stdin, _READ_BYTES)
        self._has_more_input = bool(data)
        try:
            lines = self._input.feed(data)
        except ProtocolError as problem:
            # What is left of that line cannot be told from what follows it.
            self._tell_problem(problem.why, f"{problem}; nothing more is read")
            self._has_more_input = False
            return
        for line in lines:
            if line.strip():
                self._request(line)

    def _request(self, line: bytes) -> None:
        try:
            request = decode_request(_completed(line))
        except ProtocolError as problem:
            self._tell_problem(problem.why, str(problem))
            return
        if self._link is None:
            self._tell_problem(Why.FAILED, "there is no daemon to ask")
        else:
            self._link.ask(request, self._hear)

    def _begin(self, reply: Reply) -> None:
        self._hear(reply)
        if isinstance(reply, Refused):
            raise _refusal(reply)

    def _hear(self, reply: Reply) -> None:
        self._has_stopped |= reply.type == "stopping"
        _write(encode(reply))

    def _tell_problem(self, why: str, text: str) -> None:
        content = {"v": VERSION, "type": "error", "why": why, "text": text}
        _write(json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n")


def _completed(line: bytes) -> bytes:
    """Return a request with all its fields, given what a script has to write."""
    try:
        content = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return line
    if not isinstance(content, dict):
        return line
    kind = content.get("type")
    defaults = _DEFAULTS.get(kind, {}) if isinstance(kind, str) else {}
    return json.dumps({"v": VERSION, **defaults, **content}).encode("ascii")


def _refusal(reply: Refused) -> ControlError:
    kind = NotAllowedError if reply.why == Why.NOT_ALLOWED else ControlError
    return kind(shown(reply.text))


def _write(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        discard_output()
        raise _NobodyReadsError from None
