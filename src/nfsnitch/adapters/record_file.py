"""Writes records as JSON lines, without ever making a verdict wait."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Sequence

from nfsnitch.core.alike import Alike
from nfsnitch.core.record import Record
from nfsnitch.core.record_line import RecordLines

MAX_BUFFERED = 10_000
"""Records kept for a reader that is slow; further ones are dropped, and counted."""

_FILE_CHUNK_BYTES = 1 << 16
_FEW_RECORDS, _MANY_RECORDS = 16, 64
_CHUNKS, _CROWD = 4, 256
"""So many chunks go to a file at once, one more for each crowd of records. They stay smaller than
what the C library takes from the kernel, and gives back, by itself (`lean`): that is dear."""
_PART, _SMALL_PART = 8, 64
"""Of those that have gathered, one of so many parts is turned into text at once."""


class RecordFile:
    """Appends to a file, or writes to a pipe or terminal as fast as its reader takes it."""

    def __init__(self, target: str) -> None:
        """Write to the file *target*, or to standard output where it is ``-``.

        Raises:
            OSError: the file cannot be opened.

        """
        self._own = target != "-"
        self._fd = _opened(target) if self._own else sys.stdout.fileno()
        is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._always_ready = is_file
        # A pipe that polls writable takes PIPE_BUF bytes without blocking, pipe(7). Setting
        # O_NONBLOCK instead would set it for everybody who shares this standard output.
        self._chunk_bytes = _FILE_CHUNK_BYTES if is_file else select.PIPE_BUF
        self._records: deque[Record | Alike] = deque()
        self._lines = RecordLines()
        self._unwritten = b""
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._line_open = False
        """What was written last does not end a line."""
        self._closed = False
        self.dropped = 0

    def add(self, record: Record) -> None:
        """Keep *record* until the next `flush`."""
        if len(self._records) >= MAX_BUFFERED:
            self.dropped += 1
        else:
            self._records.append(record)

    def add_alike(self, records: Sequence[Alike]) -> None:
        """Keep many of them."""
        room = MAX_BUFFERED - len(self._records)
        self.dropped += max(0, len(records) - room)
        self._records.extend(records[:room] if room < len(records) else records)

    @property
    def gathered(self) -> int:
        """How many records wait to be written."""
        return len(self._records)

    @property
    def pending(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._records or self._unwritten)

    def flush(self) -> None:
        """Write all that can be written without waiting."""
        while self.pending and self.write_some():
            pass

    def write_some(self) -> bool:
        """Write a few records, so that packets need not wait long; False if not all of these were.

        A file takes more than a few where many have gathered: a millisecond's worth at most.
        """
        chunks = min(_CHUNKS, 1 + self.gathered // _CROWD) if self._always_ready else 1
        return all(self._write_chunk(_PART) for _ in range(chunks))

    def write_few(self) -> bool:
        """Write fewer still, between one packet and the next."""
        return self._write_chunk(_SMALL_PART)

    def _write_chunk(self, part: int) -> bool:
        if not self._ready():
            return False
        self._fill(part)
        chunk = self._unwritten[: self._chunk_bytes]
        try:
            written = os.write(self._fd, chunk)
        except BlockingIOError:
            return False
        except OSError:  # the disk is full, the reader is gone
            self._drop_unwritten()
            return False
        self._unwritten = self._unwritten[written:]
        self._line_open = chunk[written - 1 : written] != b"\n"
        return True

    def close(self) -> None:
        """Write what can be written, count the rest as dropped, close the file; once is enough."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        self._drop_unwritten()
        self.dropped += len(self._records)
        self._records.clear()
        if self._own:
            os.close(self._fd)

    def _ready(self) -> bool:
        return self._always_ready or bool(self._poll.poll(0))

    def _fill(self, part: int) -> None:
        """Turn a few records into text: JSON is dear, and verdicts come first.

        The more have gathered, the more at once: in a flood there are hundreds between two turns.
        """
        few = min(self.gathered, max(_FEW_RECORDS, min(self.gathered // part, _MANY_RECORDS)))
        if len(self._unwritten) < self._chunk_bytes:
            take, line = self._records.popleft, self._lines.line
            lines = [f"{line(take())}\n" for _ in range(few)]
            self._unwritten += "".join(lines).encode("ascii")

    def _drop_unwritten(self) -> None:
        self.dropped += self._unwritten.count(b"\n")
        # Whatever comes next must not be glued to half a line.
        self._unwritten = b"\n" if self._line_open and not self._closed else b""


def _opened(path: str) -> int:
    # O_NONBLOCK: else opening a FIFO would wait for its reader, and for no signal.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o600)
    except OSError as problem:
        if problem.errno != errno.ENXIO:
            raise
        raise OSError(
            errno.ENXIO, "nobody reads from this FIFO; start its reader first", path
        ) from (problem)
