"""A client's end of the control socket, for programs that may wait."""

from __future__ import annotations

import errno
import grp
import os
import select
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nfsnitch.adapters.acl import granted
from nfsnitch.core.text import shown
from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    Lines,
    ProtocolError,
    Refused,
    Reply,
    Request,
    Why,
    decode_reply,
    encode,
)

_Wanted = TypeVar("_Wanted", bound=Reply)

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 16
_MOST_FILES = 4
"""Descriptors that come at once; the kernel closes what is more."""
_TIMEVAL = struct.Struct("@ll")


class ControlError(Exception):
    """It did not work; the message says why."""

    exit_status = 1


class NotRunningError(ControlError):
    """There is no daemon."""

    exit_status = 3


class NotAllowedError(ControlError):
    """The user may not do that."""

    exit_status = 4


class Client:
    """A connection to the daemon."""

    def __init__(self, path: Path) -> None:
        """Connect to the socket at *path*.

        Raises:
            NotRunningError: nobody listens there.
            NotAllowedError: this user may not connect.
            ControlError: it cannot be tried.

        """
        self._cutter = Lines(MAX_REPLY_BYTES)
        self._lines: deque[bytes] = deque()
        self._fds: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # With a time-out of Python's, connect() would fail at once while the backlog is full.
        timeout = _TIMEVAL.pack(CONNECT_TIMEOUT_S, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as problem:
            self._socket.close()
            raise _connect_error(path, problem) from problem

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        for fd in self.take_files():
            os.close(fd)
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when something was said, or the daemon is gone."""
        return self._socket.fileno()

    @property
    def has_more(self) -> bool:
        """Whether `receive` has something to return without reading."""
        return bool(self._lines)

    def take_files(self) -> list[int]:
        """Return the descriptors that have come with answers; they are the caller's now."""
        taken, self._fds = self._fds, []
        return taken

    def daemon_pidfd(self) -> int | None:
        """Return a descriptor that is readable when the daemon's process has ended.

        None if it is in a process namespace that cannot be seen from here.
        """
        ucred = struct.Struct("=iII")
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size)
        pid, _, _ = ucred.unpack(raw)
        try:
            return os.pidfd_open(pid) if pid > 0 else None
        except OSError:
            return None

    def ask(
        self, request: Request, wanted: type[_Wanted], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> _Wanted:
        """Ask the daemon and return its answer, which has to be of the class *wanted*.

        Raises:
            NotAllowedError, ControlError: it refused, did not answer, or is gone.

        """
        # Refused already, perhaps: then the reason waits to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(encode(request))
        reply = self.receive(timeout_s)
        if reply is None:
            raise ControlError("the daemon closed the connection without an answer")
        if isinstance(reply, Refused):
            kind = NotAllowedError if reply.why == Why.NOT_ALLOWED else ControlError
            raise kind(shown(reply.text))
        if not isinstance(reply, wanted):
            raise ControlError(f"the daemon answered {request.type} with {reply.type}")
        return reply

    def receive(self, timeout_s: float) -> Reply | None:
        """Return the next message of a kind that is known here; None when the connection ended.

        Raises:
            ControlError: none came in time, or it cannot be read.

        """
        end_s = time.monotonic() + timeout_s
        while True:
            while self._lines:
                try:
                    return decode_reply(self._lines.popleft())
                except ProtocolError as problem:
                    if problem.why is not Why.UNKNOWN_TYPE:  # which a later daemon may have
                        raise _unreadable(problem) from problem
            if not _is_readable(self.fileno(), end_s - time.monotonic()):
                raise ControlError(f"the daemon does not answer within {timeout_s:g} s")
            if not self._read():
                return None

    def _read(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _READ_BYTES, _MOST_FILES)
            self._fds += fds
            self._lines += self._cutter.feed(data)
        except ConnectionResetError:
            return False
        except ProtocolError as problem:
            raise _unreadable(problem) from problem
        return bool(data)


def wait_until_readable(descriptor: int, timeout_s: float) -> bool:
    """Wait for *descriptor*; False if the time was over first."""
    return _is_readable(descriptor, timeout_s)


def _is_readable(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1_000))


def _unreadable(problem: ProtocolError) -> ControlError:
    return ControlError(f"the daemon says what cannot be read here: {problem}")


def _connect_error(path: Path, problem: OSError) -> ControlError:
    place = shown(os.fspath(path))
    if problem.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotRunningError(f"no daemon: there is no socket {place}")
    if problem.errno == errno.ECONNREFUSED:
        return NotRunningError(f"no daemon: nobody listens at {place} any more")
    if problem.errno in {errno.EACCES, errno.EPERM}:
        return NotAllowedError(f"{_who_may(path)} may use {place}")
    if problem.errno == errno.EAGAIN:
        return ControlError(f"the daemon took no connection for {CONNECT_TIMEOUT_S} s ({place})")
    return ControlError(f"{place}: {problem.strerror or problem}")


def _who_may(path: Path) -> str:
    try:
        gid = path.stat().st_gid
    except OSError:
        return "only root"
    names = [_group_name(each) for each in (gid, *granted(path)) if each != 0]
    if not names:
        return "only root"
    groups = "group" if len(names) == 1 else "groups"
    return f"only root and members of the {groups} {' and '.join(names)}"


def _group_name(gid: int) -> str:
    try:
        return shown(grp.getgrgid(gid).gr_name)
    except KeyError:
        return str(gid)
