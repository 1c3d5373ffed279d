"""The socket in the file system through which clients find the daemon, and who may use it."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters.acl import grant
from nfsnitch.adapters.peer import Peer
from nfsnitch.protocol import Right

DEFAULT_GROUP = "nfsnitch"
"""Its members may watch, if there is such a group."""
DEFAULT_ANSWER_GROUP = "nfsnitch-answer"
"""Its members may answer as well, if there is such a group."""
_BACKLOG = 128
_MAX_PATH_BYTES = 107
"""unix(7), sun_path with its final NUL."""
_OWN = 0o600
_GROUP_TOO = 0o660
_ALL_RIGHTS = frozenset(Right)
_ANSWER_RIGHTS = frozenset({Right.WATCH, Right.ANSWER})
_NO_RIGHTS: frozenset[Right] = frozenset()


class ControlSocketError(Exception):
    """The socket cannot be made; the message says why and what to do."""


class ControlSocket:
    """A listening socket at a path, readable and writable for root and two groups."""

    def __init__(
        self, path: Path, group: str | None = None, answer_group: str | None = None
    ) -> None:
        """Listen at *path*; members of *group* may watch, those of *answer_group* answer, too.

        None stands for `DEFAULT_GROUP` and `DEFAULT_ANSWER_GROUP`, where there are these. What a
        killed instance left at *path* is replaced.

        Raises:
            ControlSocketError: something else is at *path*, others could replace it, or there is
                no such group.

        """
        self.path = path
        self.gid = gid_of(group)
        self.answer_gid = _gid_of("--answer-group", answer_group, DEFAULT_ANSWER_GROUP)
        _check(path)
        _clear(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._publish()
        except OSError as problem:
            self.listener.close()
            raise ControlSocketError(f"{path}: the control socket cannot be made: {problem}") from (
                problem
            )

    def rights_of(self, peer: Peer) -> frozenset[Right]:
        """Return what a client may do."""
        if peer.uid == os.geteuid():
            return _ALL_RIGHTS
        if self.answer_gid is not None and peer.is_in(self.answer_gid):
            return _ANSWER_RIGHTS
        if self.gid is not None and peer.is_in(self.gid):
            return frozenset({Right.WATCH})
        return _NO_RIGHTS

    def close(self) -> None:
        """Take the socket away; who is connected stays so."""
        self.listener.close()
        with suppress(OSError):
            self.path.unlink()

    def _publish(self) -> None:
        before = os.umask(0o777 & ~_OWN)
        try:
            self.listener.bind(os.fspath(self.path))
        finally:
            os.umask(before)
        first, second = self.gid, self.answer_gid
        if first is None or first == second:
            first, second = second, None
        if first is not None:
            os.chown(self.path, -1, first, follow_symlinks=False)
            self.path.chmod(_GROUP_TOO)
        if second is not None:
            # A file has one group; the second one comes by an access control list.
            grant(self.path, second)
        # Not before: until now, nobody could connect.
        self.listener.listen(_BACKLOG)


def gid_of(group: str | None) -> int | None:
    """Return the number of the group whose members may watch; None: nobody may but root.

    Raises:
        ControlSocketError: there is no such group.

    """
    return _gid_of("--group", group, DEFAULT_GROUP)


def _gid_of(option: str, group: str | None, default: str) -> int | None:
    try:
        return grp.getgrnam(group or default).gr_gid
    except (KeyError, ValueError):  # ValueError: no name can have such characters
        if group is None:
            return None
        raise ControlSocketError(
            f"{option}: there is no group {group!r}; make it (groupadd --system) or name another"
        ) from None


def _check(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ControlSocketError(f"{path}: a socket's path has at most {_MAX_PATH_BYTES} bytes")
    try:
        directory = path.parent.stat()
    except OSError as problem:
        raise ControlSocketError(f"{path}: its directory cannot be used: {problem}") from problem
    others_write = directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ours = directory.st_uid in {0, os.geteuid()}
    if not ours or (others_write and not directory.st_mode & stat.S_ISVTX):
        raise ControlSocketError(
            f"{path}: others could put a socket of their own there; use a directory that only root "
            "can write to"
        )


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens at any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlSocketError(f"{path}: there is something else; remove it, or name another")
    if _is_listened_at(path):
        raise ControlSocketError(f"{path}: another program listens there; name another path")
    path.unlink(missing_ok=True)


def _is_listened_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        # EAGAIN: its queue is full.
        return client.connect_ex(os.fspath(path)) in {0, errno.EAGAIN}
