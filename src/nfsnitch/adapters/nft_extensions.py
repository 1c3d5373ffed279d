"""Rules with extensions of iptables in our own table (net/netfilter/nft_compat.c).

nft's language has no words for them, so they are handed to the kernel as netlink messages
(``linux/netfilter/nf_tables.h``): all rules of one chain, in one transaction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from enum import IntEnum
from struct import Struct

_NETLINK_NETFILTER = 12
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NLMSG_ERROR = 2
_NLA_F_NESTED = 0x8000
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES, _COMPAT = 10, 11
"""NFNL_SUBSYS_NFTABLES, NFNL_SUBSYS_NFT_COMPAT"""
_COMPAT_GET, _NEW_RULE, _DELETE_RULE = _COMPAT << 8, _NFTABLES << 8 | 6, _NFTABLES << 8 | 8
_INET, _IPV4 = 1, 2
"""NFPROTO_INET, NFPROTO_IPV4"""

_TABLE, _CHAIN, _EXPRESSIONS, _ELEMENT = 1, 2, 4, 1
_NAME, _DATA = 1, 2
_EXTENSION_REVISION, _EXTENSION_INFO = 2, 3
_COMPAT_REVISION, _COMPAT_TYPE = 2, 3
_OBJECT_TYPE, _OBJECT_NAME, _COUNTER = 1, 2, 1
_REGISTER, _IMMEDIATE, _VERDICT = 1, 2, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2

_HEADER = Struct("=IHHII BB")
_RESOURCE = Struct(">H")
_ERROR = Struct("=IHHII i")
_ATTRIBUTE = Struct("=HH")
_BE32, _BE32_SIGNED = Struct(">I"), Struct(">i")


class Kind(IntEnum):
    """What an extension is, by its number in the kernel (``NFTA_COMPAT_TYPE``)."""

    MATCH = 0
    TARGET = 1


def problem(kind: Kind, name: str, revision: int) -> str | None:
    """Return why the kernel has no such extension; None: it has, and its module is loaded.

    Raises:
        OSError: there is no netlink socket to be had.

    """
    asked = (
        _text(_NAME, name)
        + _attribute(_COMPAT_REVISION, _BE32.pack(revision))
        + _attribute(_COMPAT_TYPE, _BE32.pack(kind))
    )
    number = _sent([_message(_COMPAT_GET, _REQUEST | _ACK, _IPV4, asked)], answers=1)
    return os.strerror(number) if number else None


def replace(table: str, chain: str, rules: Iterable[bytes]) -> str | None:
    """Have a chain of an inet table hold *rules*, each its expressions in a row, and no others.

    Return why the kernel refused, None if it did not; then the chain is as it was.

    Raises:
        OSError: there is no netlink socket to be had.

    """
    place = _text(_TABLE, table) + _text(_CHAIN, chain)
    messages = [_message(_DELETE_RULE, _REQUEST | _ACK, _INET, place)]
    for expressions in rules:
        rule = place + _nested(_EXPRESSIONS, expressions)
        messages.append(_message(_NEW_RULE, _REQUEST | _ACK | _CREATE | _APPEND, _INET, rule))
    ends = [_message(kind, _REQUEST, 0, b"", _NFTABLES) for kind in (_BATCH_BEGIN, _BATCH_END)]
    number = _sent([ends[0], *messages, ends[1]], answers=len(messages))
    return os.strerror(number) if number else None


def extension(kind: Kind, name: str, revision: int, info: bytes) -> bytes:
    """Return the expression of a match or a target; *info* is its struct, with its padding."""
    data = (
        _text(_NAME, name)
        + _attribute(_EXTENSION_REVISION, _BE32.pack(revision))
        + _attribute(_EXTENSION_INFO, info)
    )
    return _expression(kind.name.lower(), data)


def counter(name: str) -> bytes:
    """Return the expression that counts packets in a named counter of the table."""
    kind = _attribute(_OBJECT_TYPE, _BE32.pack(_COUNTER))
    return _expression("objref", kind + _text(_OBJECT_NAME, name))


def verdict(code: int, chain: str | None = None) -> bytes:
    """Return the expression that ends the rule by a verdict, which may lead to a *chain*."""
    content = _attribute(_VERDICT_CODE, _BE32_SIGNED.pack(code))
    if chain is not None:
        content += _text(_VERDICT_CHAIN, chain)
    data = _nested(_IMMEDIATE, _nested(_VERDICT, content))
    return _expression("immediate", _attribute(_REGISTER, _BE32.pack(0)) + data)


def _expression(name: str, data: bytes) -> bytes:
    return _nested(_ELEMENT, _text(_NAME, name) + _nested(_DATA, data))


def _sent(messages: Iterable[bytes], answers: int) -> int:
    """Send messages at once; return the number of the first error, 0 if there is none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(1)
        netlink.connect((0, 0))
        netlink.send(b"".join(messages))
        while answers:
            received = netlink.recv(65536)
            while received:
                size, kind, *_, error = _ERROR.unpack_from(received.ljust(_ERROR.size, b"\0"))
                received = received[size + -size % 4 :]
                if kind == _NLMSG_ERROR:
                    answers -= 1
                    if error:
                        return -int(error)
    return 0


def _message(kind: int, flags: int, family: int, content: bytes, resource: int = 0) -> bytes:
    """Return a message of nfnetlink; *resource* is the subsystem that a batch is for."""
    size = _HEADER.size + _RESOURCE.size + len(content)
    head = _HEADER.pack(size, kind, flags, 0, 0, family, 0)
    return head + _RESOURCE.pack(resource) + content


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode("ascii") + b"\0")


def _nested(kind: int, content: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, content)


def _attribute(kind: int, content: bytes) -> bytes:
    padding = -len(content) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + bytes(padding)
