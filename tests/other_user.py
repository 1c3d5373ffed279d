"""Clients of the real daemon that are other users: processes of theirs pass on what we say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from nfsnitch.lab.world import World
from nfsnitch.protocol import Reply, Request, decode_reply, encode, socket_path

_Kind = TypeVar("_Kind", bound=Reply)

SOMEBODY = 54_321
WATCHERS, WATCHERS_GID = "games", 60
ANSWERERS, ANSWERERS_GID = "users", 100
"""Two groups of base-files on Debian, as everywhere."""

_RELAY = """
import os, select, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
    try:
        daemon.connect(sys.argv[1])
    except OSError as problem:
        sys.exit(problem.strerror)
    def pass_on():
        said = os.read(0, 65536)
        return bool(said) and daemon.sendall(said) is None
    def bring_back():
        heard = daemon.recv(65536)
        return bool(heard) and bool(os.write(1, heard))
    ways = {0: pass_on, daemon.fileno(): bring_back}
    while all(ways[fd]() for fd in select.select(list(ways), [], [])[0]):
        pass
"""


class OtherUser:
    """A connection of somebody else's, in a `with` block."""

    def __init__(self, world: World, groups: Sequence[int], uid: int = SOMEBODY) -> None:
        self._world, self._groups, self._uid = world, groups, uid

    def __enter__(self) -> Self:
        """Connect."""
        path = socket_path(self._world.netns_inode("client"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _RELAY, path],
            user=self._uid,
            group=self._uid,
            extra_groups=self._groups,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._lines = iter(self._process.stdout.readline, b"")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Go away."""
        self._process.kill()
        self._process.communicate()

    def say(self, *what: Request | bytes) -> None:
        """Send requests, or anything."""
        assert self._process.stdin is not None
        for each in what:
            self._process.stdin.write(each if isinstance(each, bytes) else encode(each))

    def hear(self) -> Reply:
        """Return the next message."""
        line = next(self._lines, None)
        assert line is not None, self._process.communicate()[1].decode()
        return decode_reply(line)

    def ask(self, request: Request, kind: type[_Kind]) -> _Kind:
        """Return what the daemon answers, which is of a class."""
        self.say(request)
        reply = self.hear()
        assert isinstance(reply, kind), reply
        return reply

    def hear_of(self, kind: type[_Kind]) -> _Kind:
        """Return the next message of a class."""
        while True:
            message = self.hear()
            if isinstance(message, kind):
                return message

    def refused_by_file(self) -> str:
        """Return why it could not even connect."""
        _, errors = self._process.communicate(timeout=20)
        return errors.decode().strip()
