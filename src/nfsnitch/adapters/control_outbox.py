"""What one client has not read yet: bounded, and never waited for."""

from __future__ import annotations

import socket
from collections import deque

_SEND_BYTES = 1 << 16


class Outbox:
    """Lines on their way to one client."""

    def __init__(self, connection: socket.socket, records_bytes: int) -> None:
        """Send on *connection*, keeping at most *records_bytes* of records."""
        self._connection = connection
        self._records_bytes = records_bytes
        self._lines: deque[bytes] = deque()
        self.size = 0
        """Bytes that have not been sent."""

    def put(self, line: bytes) -> None:
        """Add an answer, of which there is one at a time."""
        self._lines.append(line)
        self.size += len(line)

    def has_room_for(self, line: bytes) -> bool:
        """Whether a record still fits."""
        return self.size + len(line) <= self._records_bytes

    def send(self) -> None:
        """Send what the client takes at once.

        Raises:
            OSError: it is gone.

        """
        while self._lines:
            chunk = self._chunk()
            try:
                sent = self._connection.send(chunk, socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                sent = 0
            self.size -= sent
            if sent < len(chunk):
                self._lines.appendleft(chunk[sent:])
                return

    def _chunk(self) -> bytes:
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= _SEND_BYTES:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return b"".join(lines)
