"""Questions that were asked, and wait for their answer.

An answer counts if a question was asked that it fits in everything: socket, transport, both
addresses, port, id, name, type and class (RFC 5452, 9.1). It counts once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from nfsnitch.core.name_sample import DnsPacket
from nfsnitch.core.shares import Shares, User
from nfsnitch.naming.messages import Question

MOST_QUESTIONS = 8_192
MOST_OF_SOCKET = 256
MOST_AGE_NS = 60_000_000_000
"""What comes later than that is no answer: those who ask have given up."""


class _Key(NamedTuple):
    """Where the question went, and what it was."""

    proto: int
    local: bytes
    local_port: int
    remote: bytes
    question: Question


class Pending:
    """Questions without an answer: a bounded number in all, and of each socket."""

    def __init__(self, most: int = MOST_QUESTIONS, most_of_socket: int = MOST_OF_SOCKET) -> None:
        self._most = most
        self._most_of_socket = most_of_socket
        self._count = 0
        self._sockets: dict[int, OrderedDict[_Key, int]] = {}
        """Socket cookie → question → when it was asked."""
        self._shares = Shares[int]()
        """Of sockets, by cookie: how many questions of whose."""

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def note(self, packet: DnsPacket, question: Question, user: User = None) -> int:
        """Remember that *packet* asks *question*; return how many had to be forgotten for that.

        *user*: whose socket it is. Who has most questions loses one first.
        """
        cookie = packet.sock_cookie
        self._shares.use(cookie, user)
        of_socket = self._sockets.setdefault(cookie, OrderedDict())
        key = _key(packet, question)
        self._add(cookie, key not in of_socket)
        of_socket[key] = packet.seen_ns
        of_socket.move_to_end(key)
        forgotten = 0
        if len(of_socket) > self._most_of_socket:
            forgotten += self._forget_oldest(cookie, packet.seen_ns)
        if self._count > self._most:
            # Of the socket that has asked nothing for the longest time: it has its answers, or
            # will have none.
            forgotten += self._forget_oldest(self._shares.one_too_many(), packet.seen_ns)
        return forgotten

    def take(self, packet: DnsPacket, question: Question) -> bool:
        """Return whether an answer to *question*, which came in *packet*, was asked for.

        The question waits no longer then.
        """
        of_socket = self._sockets.get(packet.sock_cookie)
        asked_ns = None if of_socket is None else of_socket.pop(_key(packet, question), None)
        if of_socket is None or asked_ns is None:
            return False
        self._taken_off(packet.sock_cookie)
        return packet.seen_ns - asked_ns <= MOST_AGE_NS

    def _forget_oldest(self, sock_cookie: int, now_ns: int) -> int:
        _, asked_ns = self._sockets[sock_cookie].popitem(last=False)
        self._taken_off(sock_cookie)
        return int(now_ns - asked_ns <= MOST_AGE_NS)  # else nothing is lost

    def _taken_off(self, sock_cookie: int) -> None:
        self._add(sock_cookie, -1)
        if not self._sockets[sock_cookie]:
            del self._sockets[sock_cookie]
            self._shares.remove(sock_cookie)

    def _add(self, sock_cookie: int, number: int) -> None:
        self._count += number
        self._shares.add(sock_cookie, number)


def _key(packet: DnsPacket, question: Question) -> _Key:
    return _Key(packet.proto, packet.local, packet.local_port, packet.remote, question)
