"""The server's name in an HTTP/1 request (RFC 9112)."""

from __future__ import annotations

import re

from nfsnitch.core.name import NameSource
from nfsnitch.core.server_name import INCOMPLETE, Found, Nothing, Reading, checked_name

_METHOD = re.compile(rb"[A-Z][A-Z-]{0,23}(?: |\Z)")
_REQUEST = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/(\d)\.\d\Z")
_ABSOLUTE = re.compile(rb"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)
_PORT = re.compile(rb":[0-9]{0,5}\Z")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_ODD = re.compile(rb"\r(?!\n)|\0")
"""Some servers take a carriage return alone for the end of a line (RFC 9112, 2.2)."""
_MOST_FIELDS = 256
"""Servers take some hundred, and to look at thousands takes a while."""

_NOT_HTTP = Nothing("its first data is neither TLS nor HTTP")
_AMBIGUOUS = Nothing("its HTTP request can be read in more than one way")


def read_request(data: bytes) -> Reading:
    """Return the name that the HTTP request in *data* is for.

    Only the first request of a connection is looked at, and only when all of its header is there.
    """
    if not _METHOD.match(data):
        return _NOT_HTTP
    line, newline, _ = data.partition(b"\n")
    if newline and not _REQUEST.match(line.removesuffix(b"\r")):
        return _NOT_HTTP
    end = _HEAD_END.search(data)
    if end is None:
        return INCOMPLETE
    head = data[: end.start()]
    lines = data.count(b"\n", 0, end.end())
    # Some take a line feed alone for a part of the line, and find another header than the rest.
    if _ODD.search(head) or data.count(b"\r\n", 0, end.end()) not in {0, lines}:
        return _AMBIGUOUS
    if lines > _MOST_FIELDS:
        return Nothing(f"its HTTP request has more than {_MOST_FIELDS} lines of header")
    return _name_of([each.removesuffix(b"\r") for each in head.split(b"\n")])


def _name_of(lines: list[bytes]) -> Reading:
    request = _REQUEST.match(lines[0])
    if request is None or request[3] != b"1":
        return Nothing("its HTTP is of another version than 1")
    hosts = _hosts(lines[1:])
    if hosts is None:
        return _AMBIGUOUS
    names = {checked_name(host) for host in (*_target_hosts(request[1], request[2]), *hosts)}
    if len(names) != 1:
        return Nothing(f"its HTTP request names {'several hosts' if names else 'no host'}")
    name = names.pop()
    if name is None:
        return Nothing("what its HTTP request is for is no name of a host")
    return Found(name, NameSource.HTTP)


def _hosts(fields: list[bytes]) -> list[bytes] | None:
    """Return the hosts in the header; None: not all servers find the same there."""
    hosts = []
    for field in fields:
        name, _, value = field.partition(b":")
        is_host = name.strip().lower() == b"host"
        # A folded line (RFC 9112, 5.2), or blanks where none may be (5.1).
        if field[:1] in {b" ", b"\t"} or (is_host and name != name.strip()):
            return None
        if is_host:
            hosts.append(_without_port(value.strip(b" \t")))
    return hosts


def _target_hosts(method: bytes, target: bytes) -> list[bytes]:
    """Return the host in the request target (RFC 9112, 3.2), where one says it to a proxy."""
    if method == b"CONNECT":
        return [_without_port(target)]
    absolute = _ABSOLUTE.match(target)
    return [_without_port(absolute[1].rpartition(b"@")[2])] if absolute else []


def _without_port(authority: bytes) -> bytes:
    return _PORT.sub(b"", authority)
