"""From what the kernel has seen to the names that count: the whole of `naming` behind one class."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator

from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Protocol, address_text
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_sample import Direction, DnsPacket, LibcAnswer, NameSample
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.packet import Malformed
from nfsnitch.core.settings import Settings
from nfsnitch.core.shares import User, user_of
from nfsnitch.naming.hosts import host_name
from nfsnitch.naming.known import MOST_TTL_S, KnownNames, Place
from nfsnitch.naming.messages import Answer, Found, read_answer, read_question
from nfsnitch.naming.pending import Pending
from nfsnitch.naming.streams import Streams

MOST_OF_ANSWER = 256
"""Addresses of one answer of the C library that count."""
_RECENT_NS = 30_000_000_000
"""As long as the C library tries at most, as it is set up by default."""
_TIDY_AGAIN_NS = 60_000_000_000
_MAPPED = bytes(10) + b"\xff\xff"
_IPV4_BYTES, _IPV6_BYTES = 4, 16


class HostNames:
    """Knows by which names addresses are looked for.

    Nothing in here raises for anything that a sample may hold.
    """

    def __init__(
        self,
        owner_of: Callable[[int], Owner],
        home_netns: int,
        settings: Settings,
        counters: collections.Counter[Counter],
    ) -> None:
        """Ask *owner_of* whose a socket is, by its cookie; *home_netns*: inode of ours."""
        self._owner_of = owner_of
        self._counters = counters
        self._pending = Pending()
        self._streams = Streams()
        self._tidied_ns = 0
        self._known = KnownNames(home_netns, settings.limits, settings.names.keep_ns)

    def __len__(self) -> int:
        """Return how many names of addresses are known, those included that are too old."""
        return len(self._known)

    def set(self, settings: Settings) -> None:
        """Keep names as *settings* say from here on."""
        self._known.limits, self._known.keep_ns = settings.limits, settings.names.keep_ns
        self._known.shrink()
        self._count_forgotten()

    def take(self, sample: NameSample) -> None:
        """Learn from what the kernel has seen; samples come in the order in which it has."""
        if isinstance(sample, LibcAnswer):
            self._take_libc(sample)
        elif sample.proto == Protocol.TCP:
            for message in self._streams.feed(sample, self._user_of(sample)):
                self._take_message(sample, message.payload, is_cut=message.is_cut)
            self._counters[Counter.DNS_FORGOTTEN] += self._streams.forgotten
            self._streams.forgotten = 0
        else:
            self._take_message(sample, sample.payload, is_cut=sample.is_cut)
        self._count_forgotten()

    def names_of(self, owner: Owner, daddr: bytes, now_ns: int) -> Names:
        """Return the names of a packed address that count for what *owner* sends."""
        return self._known.names_of(owner, _plain(daddr), now_ns)

    def listing(self, now_ns: int) -> Iterator[Place]:
        """Yield all names that count for anybody at this moment (monotonic)."""
        if now_ns - self._tidied_ns > _TIDY_AGAIN_NS:  # it takes 15 ms if there are many
            self._tidied_ns = now_ns
            self._known.tidy(now_ns)
        return self._known.listing(now_ns)

    def _take_message(self, packet: DnsPacket, payload: bytes, *, is_cut: bool) -> None:
        if packet.direction is Direction.SENT:
            question = read_question(payload)
            if isinstance(question, Malformed):
                self._counters[Counter.DNS_MALFORMED] += 1
            else:
                forgotten = self._pending.note(packet, question, self._user_of(packet))
                self._counters[Counter.DNS_FORGOTTEN] += forgotten
            return
        answer = read_answer(payload, is_cut=is_cut)
        if isinstance(answer, Malformed):
            self._counters[Counter.DNS_MALFORMED] += 1
        elif answer.is_truncated:
            pass  # it is asked for over TCP now
        elif not self._pending.take(packet, answer.question):
            self._counters[Counter.DNS_UNASKED] += 1
        elif answer.found:
            self._take_answer(packet, answer)

    def _user_of(self, packet: DnsPacket) -> User:
        return user_of(self._owner_of(packet.sock_cookie))

    def _take_answer(self, packet: DnsPacket, answer: Answer) -> None:
        asker = self._owner_of(packet.sock_cookie)
        host = answer.question.host
        if not host:
            return
        if not isinstance(asker, Process):
            self._counters[Counter.NAMES_UNOWNED] += 1
            return
        resolver = address_text(packet.remote)
        names: dict[tuple[int, tuple[str, ...]], Name] = {}
        for each in answer.found:
            name = names.setdefault(
                (each.ttl_s, each.aliases), _name(host, each, packet.seen_ns, resolver)
            )
            self._known.learn(asker, each.address, name)
        self._counters[Counter.NAMES_LEARNED] += len(answer.found)

    def _take_libc(self, answer: LibcAnswer) -> None:
        text = host_name(answer.name)
        if isinstance(text, Malformed):
            self._counters[Counter.DNS_MALFORMED] += 1
            return
        if text is None:
            return
        if not isinstance(answer.asker, Process):
            self._counters[Counter.NAMES_UNOWNED] += 1
            return
        for address in _addresses(answer.addresses):
            name = self._of_libc(answer.asker, address, text, answer.seen_ns)
            if name is not None:
                self._known.learn(answer.asker, address, name)
                self._counters[Counter.NAMES_LEARNED] += 1

    def _of_libc(self, asker: Process, address: bytes, text: str, now_ns: int) -> Name | None:
        """Return the name as the C library gave it; None if more is known of it already.

        What the library has from DNS has come as an answer just before. That one has what the
        library does not tell: for how long it holds, which aliases it led through, and the whole
        name where the library has added a domain (resolv.conf(5), search).
        """
        for before in self._known.own(asker, address):
            if _is_same(before, text, now_ns):
                return None
        for before in self._known.of_others(asker, address):
            if _is_same(before, text, now_ns):
                return before._replace(source=NameSource.LIBC, own=True, known_ns=now_ns)
        return Name(text, NameSource.LIBC, own=True, known_ns=now_ns)

    def _count_forgotten(self) -> None:
        self._counters[Counter.NAMES_FORGOTTEN] += self._known.forgotten
        self._known.forgotten = 0


def _name(host: str, found: Found, seen_ns: int, resolver: str) -> Name:
    ttl_s = min(found.ttl_s, MOST_TTL_S)
    return Name(host, NameSource.DNS, True, seen_ns, ttl_s, resolver, found.aliases)  # noqa: FBT003  its own


def _is_same(before: Name, text: str, now_ns: int) -> bool:
    """Whether what DNS has answered before is what the C library has given for *text* now."""
    if before.source is not NameSource.DNS or before.is_stale(now_ns):
        return False
    is_recent = now_ns - before.known_ns <= _RECENT_NS
    return before.text == text or (is_recent and before.text.startswith(f"{text}."))


def _addresses(addresses: Iterable[bytes]) -> Iterator[bytes]:
    """Yield those that are any, each once."""
    plain = (_plain(each) for each in addresses)
    fitting = (each for each in plain if len(each) in {_IPV4_BYTES, _IPV6_BYTES})
    yield from tuple(dict.fromkeys(fitting))[:MOST_OF_ANSWER]


def _plain(address: bytes) -> bytes:
    """Return an IPv4 address that is written as one of IPv6 as what it is."""
    return address[12:] if address.startswith(_MAPPED) else address
