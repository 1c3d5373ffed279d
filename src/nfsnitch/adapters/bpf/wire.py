"""Messages with descriptors, as the bcc loader and its helper exchange them.

Over a pair of ``SOCK_SEQPACKET`` sockets: each message is an object in JSON, and descriptors go
along with it (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import array
import json
import socket
from collections.abc import Iterable
from typing import Any

from nfsnitch.adapters.bpf.raw_load import close_all

MESSAGE_BYTES = 65_536
MAX_DESCRIPTORS = 128
"""In one message; the kernel takes 253 (SCM_MAX_FD)."""


def send(connection: socket.socket, message: object, descriptors: Iterable[int]) -> None:
    """Send one message with descriptors, which stay open here.

    Raises:
        OSError: there is nobody at the other end.

    """
    numbers = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
    connection.sendmsg([json.dumps(message).encode()], ancillary, socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors; None at the end.

    Raises:
        OSError: it does not come, or only a part of it.
        ValueError: it is no message.

    """
    room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    raw, ancillary, flags, _ = connection.recvmsg(MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    try:
        return _message(raw, flags), list(descriptors)
    except (OSError, ValueError):
        close_all(descriptors)
        raise


def _message(raw: bytes, flags: int) -> dict[str, Any] | None:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise OSError("a message came in part")
    message = json.loads(raw) if raw else None
    if message is not None and not isinstance(message, dict):
        raise ValueError("what came is no object")
    return message
