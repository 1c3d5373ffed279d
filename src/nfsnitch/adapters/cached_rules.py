"""The rules of the chain ``cached``, which ask eBPF programs about packets before they are queued.

They use the match ``bpf`` of iptables (net/netfilter/xt_bpf.c) in our own table
(net/netfilter/nft_compat.c). nft's language has no words for that, so they are handed to the kernel
as netlink messages (``linux/netfilter/nf_tables.h``), all in one transaction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from enum import Enum
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
_MATCH_REVISION, _MATCH_INFO = 2, 3
_OBJECT_TYPE, _OBJECT_NAME, _COUNTER = 1, 2, 1
_REGISTER, _IMMEDIATE, _VERDICT = 1, 2, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2

_MATCH, _REVISION = "bpf", 1
_BY_DESCRIPTOR = 2
"""XT_BPF_MODE_FD_ELF: the program is named by a descriptor of whoever adds the rule."""
_XT_BPF_INFO = Struct("=HHi512s8x")
"""``struct xt_bpf_info_v1``"""
_HEADER = Struct("=IHHII BB")
_RESOURCE = Struct(">H")
_ERROR = Struct("=IHHII i")
_ATTRIBUTE = Struct("=HH")
_BE32, _BE32_SIGNED = Struct(">I"), Struct(">i")


class CachedRulesError(Exception):
    """The kernel has no such match, or refused the rules; the message says which."""


class Outcome(Enum):
    """What becomes of a packet that a program answers for, as the kernel's verdict code."""

    ACCEPT = 1
    DROP = 0
    REFUSE = -4
    """``goto refuse``: refused aloud, in our chain of this name."""


class CachedRules:
    """The rules, in the network namespace of whoever uses this."""

    def __init__(self, table: str, chain: str, counter: str, refuse: str) -> None:
        """*chain* of the inet *table* is to hold them; *counter* counts what they answer for.

        *refuse* is the chain to go to for `Outcome.REFUSE`.
        """
        self._table, self._chain, self._counter, self._refuse = table, chain, counter, refuse

    def problem(self) -> str | None:
        """Return why the kernel cannot be asked so; None: it can. It loads the module it needs.

        Raises:
            OSError: there is no netlink socket to be had.

        """
        asked = (
            _text(_NAME, _MATCH)
            + _attribute(2, _BE32.pack(_REVISION))  # NFTA_COMPAT_REV
            + _attribute(3, _BE32.pack(0))  # NFTA_COMPAT_TYPE: a match
        )
        number = _sent([_message(_COMPAT_GET, _REQUEST | _ACK, _IPV4, asked)], answers=1)
        if number == 0:
            return None
        return f"the kernel has no match bpf (xt_bpf): {os.strerror(number)}"

    def install(self, programs: Mapping[Outcome, int]) -> None:
        """Have the programs asked, by their descriptors, in this order; none: nothing is asked.

        All rules that the chain has are replaced.

        Raises:
            CachedRulesError: the kernel refused; the chain is as it was.
            OSError: there is no netlink socket to be had.

        """
        place = _text(_TABLE, self._table) + _text(_CHAIN, self._chain)
        messages = [_message(_DELETE_RULE, _REQUEST | _ACK, _INET, place)]
        for outcome, fd in programs.items():
            rule = place + _nested(_EXPRESSIONS, self._expressions(outcome, fd))
            messages.append(_message(_NEW_RULE, _REQUEST | _ACK | _CREATE | _APPEND, _INET, rule))
        ends = [_message(kind, _REQUEST, 0, b"", _NFTABLES) for kind in (_BATCH_BEGIN, _BATCH_END)]
        number = _sent([ends[0], *messages, ends[1]], answers=len(messages))
        if number:
            raise CachedRulesError(
                f"the rules that ask eBPF could not be put in force: {os.strerror(number)}"
            )

    def _expressions(self, outcome: Outcome, fd: int) -> bytes:
        info = _XT_BPF_INFO.pack(_BY_DESCRIPTOR, 0, fd, b"")
        match = (
            _text(_NAME, _MATCH)
            + _attribute(_MATCH_REVISION, _BE32.pack(_REVISION))
            + _attribute(_MATCH_INFO, info)
        )
        kind = _attribute(_OBJECT_TYPE, _BE32.pack(_COUNTER))
        counter = kind + _text(_OBJECT_NAME, self._counter)
        verdict = _attribute(_VERDICT_CODE, _BE32_SIGNED.pack(outcome.value))
        if outcome is Outcome.REFUSE:
            verdict += _text(_VERDICT_CHAIN, self._refuse)
        immediate = _attribute(_REGISTER, _BE32.pack(0)) + _nested(
            _IMMEDIATE, _nested(_VERDICT, verdict)
        )
        return b"".join(
            _nested(_ELEMENT, _text(_NAME, name) + _nested(_DATA, data))
            for name, data in (("match", match), ("objref", counter), ("immediate", immediate))
        )


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
