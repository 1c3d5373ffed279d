"""The server's name in a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3)."""

from __future__ import annotations

from collections.abc import Iterator

from nfsnitch.core.name import NameSource
from nfsnitch.core.server_name import (
    INCOMPLETE,
    MAX_BYTES,
    Found,
    Nothing,
    Reading,
    checked_name,
)

HANDSHAKE_RECORD = 22
_RECORD_HEADER_BYTES = 5
_RECORD_BYTES = 1 << 14
_MAJOR_VERSION = 3
_CLIENT_HELLO = 1
_MESSAGE_HEADER_BYTES = 4
_BEFORE_SESSION_BYTES = 34
"""legacy_version and random."""
_SERVER_NAME, _ENCRYPTED_CLIENT_HELLO = 0, 0xFE0D
"""IANA, TLS ExtensionType values; the second is RFC 9849."""
_HOST_NAME = 0

_MOST_RECORDS, _MOST_EXTENSIONS = 1_024, 256
"""It is read again with each packet that waits, and must not take long; real ones have few."""

_BROKEN = Nothing("its TLS ClientHello is broken")
_TOO_SMALL = Nothing(f"its TLS ClientHello is not whole in {_MOST_RECORDS} records")


class _BrokenError(Exception):
    """Inside this module alone: a length says something impossible."""


def read_records(data: bytes) -> Reading:
    """Return the name in the TLS records that *data* begins with (RFC 8446, 5.1)."""
    message = bytearray()
    at = records = 0
    while at < len(data) and not _is_enough(message):
        header = data[at : at + _RECORD_HEADER_BYTES]
        if header[0] != HANDSHAKE_RECORD:
            return Nothing("its TLS does not begin with a ClientHello")
        if len(header) > 1 and header[1] != _MAJOR_VERSION:
            return Nothing("its first data is neither TLS nor HTTP")
        if len(header) < _RECORD_HEADER_BYTES:
            break
        size = int.from_bytes(header[3:5], "big")
        if not 0 < size <= _RECORD_BYTES:
            return _BROKEN
        at += _RECORD_HEADER_BYTES
        message += data[at : at + size]
        at += size
        records += 1
        if records > _MOST_RECORDS:
            return _TOO_SMALL
    return read_client_hello(bytes(message), NameSource.TLS)


def _is_enough(message: bytearray) -> bool:
    """Whether what comes next belongs to another message, or to none that is read."""
    if message and message[0] != _CLIENT_HELLO:
        return True
    return len(message) >= _MESSAGE_HEADER_BYTES and len(message) >= _end(message)


def _end(message: bytes | bytearray) -> int:
    return _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:4], "big")


def read_client_hello(message: bytes, source: NameSource) -> Reading:
    """Return the name in the handshake message that *message* begins with."""
    if message and message[0] != _CLIENT_HELLO:
        return Nothing("its TLS does not begin with a ClientHello")
    if len(message) < _MESSAGE_HEADER_BYTES:
        return INCOMPLETE
    end = _end(message)
    if end > MAX_BYTES:
        return Nothing(f"its TLS ClientHello is longer than {MAX_BYTES} bytes")
    if len(message) < end:
        return INCOMPLETE
    try:
        return _name_in(message[_MESSAGE_HEADER_BYTES:end], source)
    except _BrokenError:
        return _BROKEN


def _name_in(body: bytes, source: NameSource) -> Reading:
    names: list[bytes] = []
    is_outer = False
    seen: set[int] = set()
    for kind, content in _extensions(body):
        if kind in seen:
            raise _BrokenError
        seen.add(kind)
        if len(seen) > _MOST_EXTENSIONS:
            raise _BrokenError
        if kind == _SERVER_NAME:
            names = list(_host_names(content))
        elif kind == _ENCRYPTED_CLIENT_HELLO:
            is_outer = True
    if len(names) != 1:
        return Nothing("its TLS ClientHello names no server, or several")
    name = checked_name(names[0])
    if name is None:
        return Nothing("what its TLS ClientHello names is no name of a host")
    if is_outer:
        # Programs send the extension with random content, too, so that nobody can tell (GREASE).
        return Nothing(
            f"its TLS ClientHello is encrypted (ECH), or looks so; outside it says {name}"
        )
    return Found(name, source)


def _extensions(body: bytes) -> Iterator[tuple[int, bytes]]:
    if len(body) < _BEFORE_SESSION_BYTES:
        raise _BrokenError
    _session, at = _vector(body, _BEFORE_SESSION_BYTES, 1)
    _cipher_suites, at = _vector(body, at, 2)
    _compression, at = _vector(body, at, 1)
    if at == len(body):
        return  # before TLS 1.2 there need not be any
    extensions, at = _vector(body, at, 2)
    if at != len(body):
        raise _BrokenError
    at = 0
    while at < len(extensions):
        content, behind = _vector(extensions, at + 2, 2)
        yield int.from_bytes(extensions[at : at + 2], "big"), content
        at = behind


def _host_names(content: bytes) -> Iterator[bytes]:
    names, end = _vector(content, 0, 2)
    if end != len(content):
        raise _BrokenError
    at = 0
    while at < len(names):
        name, behind = _vector(names, at + 1, 2)
        if names[at] == _HOST_NAME:
            yield name
        at = behind


def _vector(data: bytes, at: int, length_bytes: int) -> tuple[bytes, int]:
    """Return the vector with its length in front (RFC 8446, 3.4), and where it ends."""
    start = at + length_bytes
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise _BrokenError
    return data[start:end], end
