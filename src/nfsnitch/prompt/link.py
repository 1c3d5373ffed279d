"""A connection to the daemon that never waits: what comes is handed to whoever it is for."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nfsnitch.control_client import Client, ControlError
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    UNASKED,
    Lines,
    ProtocolError,
    Reply,
    Request,
    Why,
    decode_reply,
    encode,
)

Hear = Callable[[Reply], None]
_READ_BYTES = 1 << 16


class Link:
    """A connection to the daemon, read when it is readable."""

    def __init__(self, path: Path, hear: Hear) -> None:
        """Connect; *hear* gets what comes by itself.

        Raises:
            ControlError: it does not work.

        """
        with Client(path) as client:
            self._socket = socket.socket(fileno=os.dup(client.fileno()))
        self._hear = hear
        self._lines = Lines(MAX_REPLY_BYTES)
        self._asked: deque[Hear] = deque()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `read` has something to do."""
        return self._socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._asked)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, request: Request, then: Hear) -> None:
        """Send a request; *then* gets what is answered, a refusal as well."""
        self._asked.append(then)
        # If the daemon is gone, `read` says so.
        with suppress(OSError):
            self._socket.sendall(encode(request))

    def read(self) -> bool:
        """Read once and hand over what has come; False when the connection has ended.

        Raises:
            ControlError: what came makes no sense.

        """
        try:
            data = self._socket.recv(_READ_BYTES)
            lines = self._lines.feed(data)
        except ConnectionResetError:
            return False
        except ProtocolError as problem:
            raise _unreadable(problem) from problem
        for line in lines:
            self._hand_over(line)
        return bool(data)

    def _hand_over(self, line: bytes) -> None:
        try:
            reply = decode_reply(line)
        except ProtocolError as problem:
            if problem.why is Why.UNKNOWN_TYPE:  # which a later daemon may have
                return
            raise _unreadable(problem) from problem
        if isinstance(reply, UNASKED) or not self._asked:
            self._hear(reply)
        else:
            self._asked.popleft()(reply)


def _unreadable(problem: ProtocolError) -> ControlError:
    return ControlError(f"the daemon says what cannot be read here: {problem}")
