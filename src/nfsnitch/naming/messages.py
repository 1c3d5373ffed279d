"""Messages of DNS: which name is asked for, and to which addresses an answer leads from it.

What is read is little: the header, the question, and of the answer section the records that the
name in question leads to. Nothing else in a message can put a name to an address: not the
additional section, and no record of a name that was neither asked for nor reached by CNAME.

The reader is our own. It is fed with what anybody on the network may send, on the way of each
packet: dnslib, for one, follows chains of pointers by recursion, reads names of any length, writes
the label ``a.b`` as if it were two, and takes four times as long. The tests hold the two against
each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nfsnitch.core.packet import Malformed
from nfsnitch.naming.labels import NameReader, UnreadableError, name_text
from nfsnitch.naming.service_hints import Service, read_service

A, CNAME, AAAA, SVCB, HTTPS, ANY = 1, 5, 28, 64, 65, 255
"""Types of records and questions (IANA, "Resource Record (RR) TYPEs")."""
IN = 1
"""The class of the Internet."""

MOST_RECORDS = 256
"""Records of an answer that are looked at; those that follow them are left alone."""
MOST_ALIASES = 16
"""Longer chains of CNAME lead nowhere, as with most resolvers."""

_HEADER = struct.Struct("!H H H H 4x")  # id, flags, number of questions, of answers; others
_QUESTION = struct.Struct("!H H")  # type, class
_RECORD = struct.Struct("!H H I H")  # type, class, TTL, length
_HEADER_BYTES = 12
_RESPONSE, _OPCODE, _TRUNCATED, _RCODE = 0x8000, 0x7800, 0x0200, 0x000F
_ADDRESS_BYTES = {A: 4, AAAA: 16}
_MAPPED = bytes(10) + b"\xff\xff"
_MOST_TTL = 0x7FFF_FFFF


class Question(NamedTuple):
    """What is asked."""

    message_id: int
    name: str
    r"""In lower case without the final dot; what no host's name has is written ``\DDD``."""
    qtype: int
    qclass: int

    @property
    def host(self) -> str:
        """The name of the host that is asked for.

        Of services, those labels are left out that say only which service (RFC 9460, 2.3):
        ``_8443._https.example.org`` asks for ``example.org``.
        """
        name = self.name
        while self.qtype in {SVCB, HTTPS} and name.startswith("_"):
            name = name.partition(".")[2]
        return name


class Found(NamedTuple):
    """An address that the question leads to."""

    address: bytes
    """Packed; one of IPv6 that stands for one of IPv4 is that."""
    ttl_s: int
    """The least on the way to it."""
    aliases: tuple[str, ...]
    """The names on the way to it, without the one in question."""


class Answer(NamedTuple):
    """What is answered."""

    question: Question
    rcode: int
    """0: no error; 3: there is no such name (RFC 1035, 4.1.1)."""
    is_truncated: bool
    """It did not fit, and is to be asked for over TCP (the TC bit)."""
    found: tuple[Found, ...]


class _Records(NamedTuple):
    """Those of an answer section by the name they belong to."""

    aliases: dict[bytes, tuple[bytes, int]]
    """Name → what it is an alias of, and for how long."""
    addresses: dict[bytes, list[tuple[bytes, int]]]
    services: dict[bytes, list[tuple[Service, int]]]


def read_question(payload: bytes) -> Question | Malformed:
    """Return what a message asks; *payload*: the message as UDP carries it. Never raises."""
    try:
        message_id, flags, questions, _ = _HEADER.unpack_from(payload)
        if flags & _RESPONSE:
            return Malformed("it is an answer, not a question")
        question, _, _ = _question(NameReader(payload), payload, message_id, flags, questions)
    except struct.error:
        return Malformed("it is cut off")
    except UnreadableError as problem:
        return Malformed(str(problem))
    return question


def read_answer(payload: bytes, *, is_cut: bool = False) -> Answer | Malformed:
    """Return what a message answers; of one that *is_cut*, as much as is there. Never raises."""
    try:
        message_id, flags, questions, count = _HEADER.unpack_from(payload)
        if not flags & _RESPONSE:
            return Malformed("it is a question, not an answer")
        names = NameReader(payload)
        question, name, at = _question(names, payload, message_id, flags, questions)
        is_truncated = bool(flags & _TRUNCATED)
        records = _Records({}, {}, {})
        try:
            _read_records(records, names, payload, at, min(count, MOST_RECORDS))
        except (struct.error, UnreadableError):
            if not is_cut and not is_truncated:
                raise
    except struct.error:
        return Malformed("it is cut off")
    except UnreadableError as problem:
        return Malformed(str(problem))
    found = tuple(_found(question.qtype, name, records)) if question.qclass == IN else ()
    return Answer(question, flags & _RCODE, is_truncated, found)


def _question(
    names: NameReader, payload: bytes, message_id: int, flags: int, questions: int
) -> tuple[Question, bytes, int]:
    if flags & _OPCODE:
        raise UnreadableError("it is neither a query nor an answer to one")
    if questions != 1:
        raise UnreadableError(f"it has {questions} questions, not one")
    name, at = names.read(_HEADER_BYTES)
    qtype, qclass = _QUESTION.unpack_from(payload, at)
    return Question(message_id, name_text(name), qtype, qclass), name, at + _QUESTION.size


def _read_records(
    records: _Records, names: NameReader, payload: bytes, at: int, count: int
) -> None:
    aliases, addresses, services = records
    for _ in range(count):
        owner, at = names.read(at)
        kind, rclass, ttl, length = _RECORD.unpack_from(payload, at)
        at += _RECORD.size
        end = at + length
        if end > len(payload):
            raise UnreadableError("a record is cut off")
        ttl_s = ttl if ttl <= _MOST_TTL else 0  # RFC 2181, 8
        if rclass != IN:
            pass
        elif kind in _ADDRESS_BYTES:
            if length != _ADDRESS_BYTES[kind]:
                raise UnreadableError(f"an address has {length} bytes")
            addresses.setdefault(owner, []).append((payload[at:end], ttl_s))
        elif kind == CNAME:
            target, target_end = names.read(at)
            if target_end != end:
                raise UnreadableError("an alias has not the length that it says")
            aliases.setdefault(owner, (target, ttl_s))
        elif kind in {SVCB, HTTPS}:
            service = read_service(names, payload, at, end)
            services.setdefault(owner, []).append((service, ttl_s))
        at = end


def _found(qtype: int, name: bytes, records: _Records) -> list[Found]:
    """Return the addresses that the name in question leads to, none twice."""
    passed, ttl_s = [name], _MOST_TTL
    while (alias := _alias(name, qtype, records)) is not None:
        name, alias_ttl_s = alias
        if name in passed or len(passed) > MOST_ALIASES:
            return []
        passed.append(name)
        ttl_s = min(ttl_s, alias_ttl_s)
    aliases = tuple(map(name_text, passed[1:]))
    found: dict[bytes, Found] = {}
    for address, its_ttl_s, target in _addresses(name, qtype, records):
        packed = address.removeprefix(_MAPPED) if len(address) == _ADDRESS_BYTES[AAAA] else address
        leads_on = target and target not in passed
        through = (*aliases, name_text(target)) if leads_on else aliases
        found.setdefault(packed, Found(packed, min(ttl_s, its_ttl_s), through))
    return list(found.values())


def _alias(name: bytes, qtype: int, records: _Records) -> tuple[bytes, int] | None:
    if name in records.aliases:
        return records.aliases[name]
    if qtype in {SVCB, HTTPS}:
        for service, ttl_s in records.services.get(name, ()):
            if service.is_alias and service.target:
                return service.target, ttl_s
    return None


def _addresses(name: bytes, qtype: int, records: _Records) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield address, TTL, and the name that has it if the record says another one."""
    for service, ttl_s in records.services.get(name, ()) if qtype in {SVCB, HTTPS} else ():
        for hint in service.hints:
            yield hint, ttl_s, service.target
    wanted = (4, 16) if qtype == ANY else (_ADDRESS_BYTES.get(qtype, 0),)
    for address, ttl_s in records.addresses.get(name, ()):
        if len(address) in wanted:
            yield address, ttl_s, b""
