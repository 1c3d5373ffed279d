"""``python -m nfsnitch.adapters.lists.helper``: fetches, reads and compiles one list.

It is started by the daemon and by ``nfsnitch lists check``, each time for one `Job`, with the
descriptors that this names, and gives up everything else first (`confinement`).
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  needed when it may not be found any more
import hashlib
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from nfsnitch.adapters.lists import confinement
from nfsnitch.adapters.lists.fetching import Fetched, FetchError, Wanted, fetch
from nfsnitch.adapters.lists.messages import (
    MOST_MESSAGE_BYTES,
    Done,
    Failed,
    Job,
    Message,
    Phase,
    Progress,
    encoded,
)
from nfsnitch.adapters.privileges import PrivilegesError
from nfsnitch.core.listing import ListFormat
from nfsnitch.lists import compiling, layout, reading
from nfsnitch.lists.gathering import TooManyError
from nfsnitch.lists.report import Report

_PIECE_BYTES = 1 << 18
_BETWEEN_MESSAGES_S = 0.1


class _NotTakenError(Exception):
    """The list is not taken; the message says why."""


def main() -> int:
    """Do one job; return the exit status."""
    job = Job.decoded(sys.stdin.buffer.readline(MOST_MESSAGE_BYTES))
    said: Message
    try:
        # What is needed of files that not everybody may read, before it is nobody.
        context = ssl.create_default_context() if job.url is not None else None
        kept_in = confinement.confine(fetches=job.url is not None)
        signal.signal(signal.SIGALRM, _time_is_over)
        said = _done(job, kept_in, context)
    except (FetchError, TooManyError, _NotTakenError, PrivilegesError) as problem:
        said = Failed(str(problem))
    except MemoryError:
        said = Failed("it takes more memory than is given to it")
    except OSError as problem:
        said = Failed(f"it cannot be read or written: {problem.strerror}")
    _say(said)
    return 0 if isinstance(said, Done) else 1


def _time_is_over(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise FetchError("it took too long")


def _done(job: Job, kept_in: str, context: ssl.SSLContext | None) -> Done:
    read_ns = time.time_ns()
    fetched = _fetched(job, context) if job.url is not None else Fetched(is_new=True)
    if not fetched.is_new or (job.known_sha256 and _sha256(job) == job.known_sha256):
        return Done(is_new=False, kept_in=kept_in, report=None)
    text = _Text(job)
    teller = _Teller()
    gathered, report = reading.read_list(text.pieces(teller), ListFormat(job.format), None)
    if job.sha256 is not None and text.sha256 != job.sha256:
        raise _NotTakenError(f"its SHA-256 is {text.sha256}, not the one wanted")
    _check(report, job)
    total = len(gathered.names)
    sections = compiling.sections_of(
        gathered, lambda done: teller.tell(Phase.COMPILING, done, total)
    )
    origin = layout.Origin(text.sha256, text.size_bytes, fetched.etag, fetched.last_modified)
    _write(job.out_fd, layout.Description(origin, report, read_ns), sections)
    return Done(is_new=True, kept_in=kept_in, report=report)


def _fetched(job: Job, context: ssl.SSLContext | None) -> Fetched:
    teller = _Teller()
    wanted = Wanted(str(job.url), job.etag, job.last_modified, job.most_bytes, job.most_s)
    signal.setitimer(signal.ITIMER_REAL, job.most_s)
    try:
        return fetch(
            wanted,
            lambda piece: _write_whole(job.text_fd, piece),
            lambda done, total: teller.tell(Phase.FETCHING, done, total),
            context,
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _check(report: Report, job: Job) -> None:
    """Refuse what is no list: nobody is to go without one since a server has a bad day.

    Raises:
        _NotTakenError: it is none, or has too little in it.

    """
    understood = report.entries + report.duplicates + report.excepted + report.exceptions
    understood += report.unsupported.total()
    if report.errors > understood:
        first = report.first_errors[0]
        raise _NotTakenError(
            f"most of its lines cannot be read as {report.format}; the first is line {first.line}: "
            f"{first.text or '(no text)'} ({first.why})"
        )
    if report.entries < job.least_entries or (job.url is not None and not report.entries):
        raise _NotTakenError(
            f"it has {report.entries:,} entries now, far less than before"
            if report.entries
            else "it has no entries"
        )


class _Text:
    """The list's text, which is read from its beginning to its end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sum = hashlib.sha256()
        self.size_bytes = 0

    def pieces(self, teller: _Teller) -> Iterator[bytes]:
        """Yield it, and tell how far it is."""
        total = os.fstat(self._job.text_fd).st_size
        for piece in _pieces(self._job):
            self._sum.update(piece)
            self.size_bytes += len(piece)
            teller.tell(Phase.READING, self.size_bytes, total)
            yield piece

    @property
    def sha256(self) -> str:
        """Of what has been read."""
        return self._sum.hexdigest()


def _sha256(job: Job) -> str:
    found = hashlib.sha256()
    for piece in _pieces(job):
        found.update(piece)
    return found.hexdigest()


def _pieces(job: Job) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(job.text_fd, _PIECE_BYTES, at):
        at += len(piece)
        if at > job.most_bytes:
            raise _NotTakenError(f"it has more than {job.most_bytes:,} bytes")
        yield piece


def _write(fd: int, description: layout.Description, sections: layout.Sections) -> None:
    for piece in layout.written(description, sections):
        _write_whole(fd, piece)


def _write_whole(fd: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(fd, rest) :]


class _Teller:
    """Says how far it is, and not too often."""

    def __init__(self) -> None:
        self._again_s = 0.0

    def tell(self, phase: Phase, done: int, total: int | None) -> None:
        """Say it, unless something was said a moment ago."""
        now_s = time.monotonic()
        if now_s >= self._again_s:
            self._again_s = now_s + _BETWEEN_MESSAGES_S
            _say(Progress(phase, done, total))


def _say(message: Message) -> None:
    _write_whole(sys.stdout.fileno(), encoded(message))


if __name__ == "__main__":
    sys.exit(main())
