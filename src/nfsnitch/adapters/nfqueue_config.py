"""What the package NetfilterQueue cannot ask of a queue: its flags, by nfnetlink.

The message and its numbers are those of linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from enum import IntFlag
from struct import Struct

_NFNL_SUBSYS_QUEUE, _NFQNL_MSG_CONFIG = 3, 2
_NFQA_CFG_QUEUE_MAXLEN, _NFQA_CFG_MASK, _NFQA_CFG_FLAGS = 3, 4, 5
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2
_HEADER = Struct("=IHHIIBB")
"""struct nlmsghdr and the start of struct nfgenmsg, whose last field is the queue, big-endian."""
_QUEUE_NUM = Struct(">H")
_ATTRIBUTE = Struct("=HH")
_NUMBER = Struct(">I")
_ERROR = Struct("=IHHIIi")
_SEQUENCE = 0x6E667371
_RECEIVE_BYTES = 1 << 17
_TRIES = 5


class QueueFlag(IntFlag):
    """NFQA_CFG_F_*: what the kernel does with packets of a queue."""

    FAIL_OPEN = 1
    """It accepts what the queue or its reader's socket has no room for, instead of dropping it."""
    CONNTRACK = 2
    """It says with each packet what conntrack knows of it."""
    GSO = 4
    """It queues a large packet as one, not cut into segments: one packet, one verdict."""


def configure(
    netlink: socket.socket,
    queue_num: int,
    length: int,
    flags: QueueFlag,
    on_other: Callable[[bytes], None],
) -> None:
    """Give a queue its length and flags; *netlink* is the socket that has the queue.

    *on_other* gets the messages that come before the kernel's answer: packets, to be handled
    whether or not this succeeds.

    Raises:
        OSError: the kernel refused, or its answer found no room again and again.

    """
    attributes = (
        _attribute(_NFQA_CFG_QUEUE_MAXLEN, length)
        + _attribute(_NFQA_CFG_MASK, QueueFlag.FAIL_OPEN | QueueFlag.CONNTRACK | QueueFlag.GSO)
        + _attribute(_NFQA_CFG_FLAGS, flags)
    )
    header = _HEADER.pack(
        _HEADER.size + _QUEUE_NUM.size + len(attributes),
        _NFNL_SUBSYS_QUEUE << 8 | _NFQNL_MSG_CONFIG,
        _NLM_F_REQUEST | _NLM_F_ACK,
        _SEQUENCE,
        0,
        socket.AF_UNSPEC,
        0,
    )
    for _ in range(_TRIES):
        netlink.send(header + _QUEUE_NUM.pack(queue_num) + attributes)
        error = _answer(netlink, on_other)
        if error is not None:
            break
        # The socket was full of packets. They have been read, and asking twice does no harm.
    else:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    if error:
        raise OSError(-error, os.strerror(-error))


def _answer(netlink: socket.socket, on_other: Callable[[bytes], None]) -> int | None:
    """Return the kernel's answer, 0 or a negative error number; None if it was lost."""
    while True:
        try:
            message = netlink.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:  # the kernel answers before `send` returns
            return None
        except OSError as problem:
            if problem.errno == errno.ENOBUFS:  # packets were lost, and perhaps the answer
                continue
            raise
        if len(message) >= _ERROR.size:
            _, kind, _, sequence, _, error = _ERROR.unpack_from(message)
            if kind == _NLMSG_ERROR and sequence == _SEQUENCE:
                return int(error)
        on_other(message)


def _attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + _NUMBER.size, kind) + _NUMBER.pack(value)
