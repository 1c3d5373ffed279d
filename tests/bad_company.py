"""Clients that never read, never end a line, say half of it, or flood: ``bad_company.py PATH GID``.

It says ``ready`` when all are connected, each kind as a user of its own, and stays until its
standard input ends.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

_FIRST_UID = 90_000
_EACH = 3
_WATCH, _LISTEN = b'{"v":1,"type":"watch"}\n', b'{"v":1,"type":"questions"}\n'
_STATUS, _HISTORY = b'{"v":1,"type":"status"}\n', b'{"v":1,"type":"history","before":null}\n'
_KINDS = (
    (_WATCH + _LISTEN, False),
    (b'{"v":1,"type":"sta', False),
    (_STATUS + b'{"v":1,"ty', True),
    (_LISTEN + _STATUS, True),
    (_STATUS * 50_000, False),
    (_HISTORY * 5_000, False),
    (b"x" * 1_000_000, False),
    (b"", False),
)
"""What each says, and whether it then says that this was all."""


def main() -> None:
    """Be all of them."""
    path, gid = sys.argv[1:]
    os.setgroups([int(gid)])
    clients = [
        client(path, _FIRST_UID + kind, said, half_closed=half_closed)
        for kind, (said, half_closed) in enumerate(_KINDS)
        for _ in range(_EACH)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    del clients


def client(path: str, uid: int, said: bytes, *, half_closed: bool) -> socket.socket:
    """Return one, once it has said what the daemon takes at once."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.setresuid(uid, uid, 0)
    try:
        one.connect(path)
    finally:
        os.setresuid(0, 0, 0)
    one.settimeout(0)
    with suppress(BlockingIOError, BrokenPipeError):
        while said:
            said = said[one.send(said) :]
    if half_closed:
        one.shutdown(socket.SHUT_WR)
    return one


if __name__ == "__main__":
    main()
