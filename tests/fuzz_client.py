"""A client that means no good, as a process: ``fuzz_client.py PATH SEED COUNT ROLE [GID]``.

It connects, says a batch, reads what comes until the connection ends, and does it again, until
COUNT messages have been answered; then it prints how many that were, by the kind of answer. With
GID, each connection is that of another user, who has this group.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import socket
import sys

from fuzz_messages import Messages
from nfsnitch.protocol import UNASKED

FIRST_UID = 100_000
_MOST_IN_BATCH = 64
_MOST_OF_USER = 24
"""So many are answered at once, by the rate that a user is held to."""
_UNASKED = tuple(f'{{"v":1,"type":"{kind.type}"'.encode() for kind in UNASKED)


def main() -> None:
    """Be that client."""
    path, seed, count, role, *gid = sys.argv[1:]
    messages = Messages(int(seed), may_answer=role == "answer")
    tally: collections.Counter[str] = collections.Counter()
    if gid:
        os.setgroups([int(gid[0])])
    uids = itertools.count(FIRST_UID)
    while tally.total() < int(count):
        connection = connected(path, next(uids) if gid else None)
        with connection:
            talk(connection, messages.batch(_MOST_OF_USER if gid else _MOST_IN_BATCH), tally)
    json.dump(tally, sys.stdout)


def connected(path: str, uid: int | None) -> socket.socket:
    """Return a connection, of another user if there is a uid."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if uid is not None:
        os.setresuid(uid, uid, 0)
    try:
        connection.connect(path)
    finally:
        if uid is not None:
            os.setresuid(0, 0, 0)
    return connection


def talk(connection: socket.socket, batch: bytes, tally: collections.Counter[str]) -> None:
    """Say it, read all that is answered, and count it."""
    heard = bytearray()
    try:
        # It fits into the buffers: nobody waits for us to read first.
        connection.sendall(batch)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(1 << 18):
            heard += data
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was closed before all was said, or read
    for line in bytes(heard).split(b"\n"):
        if line and not line.startswith(_UNASKED):
            tally[kind_of(line)] += 1


def kind_of(line: bytes) -> str:
    """Return the type of an answer; of a refusal, why."""
    if line.startswith(b'{"v":1,"type":"refused"'):
        return line.split(b'"', 10)[9].decode()
    return line.split(b'"', 6)[5].decode()


if __name__ == "__main__":
    main()
