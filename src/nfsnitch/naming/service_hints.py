"""SVCB and HTTPS records (RFC 9460): where a service is, with hints which addresses that has."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nfsnitch.naming.labels import NameReader, UnreadableError

MOST_HINTS = 32
"""Of one record; those that follow them are left alone."""

_PRIORITY = Struct("!H")
_PARAMETER = Struct("!H H")  # key, length of the value
_HINT_BYTES = {4: 4, 6: 16}
"""SvcParamKey ``ipv4hint``, ``ipv6hint`` → bytes of each address in it."""


class Service(NamedTuple):
    """What one record says."""

    is_alias: bool
    """It says nothing but where else to look (AliasMode)."""
    target: bytes
    """Empty: the record's own name; of an alias: there is no such service."""
    hints: tuple[bytes, ...]
    """Packed addresses."""


def read_service(names: NameReader, payload: bytes, at: int, end: int) -> Service:
    """Return what the record's data between *at* and *end* say.

    Raises:
        UnreadableError, struct.error: they are cut off, or no such data.

    """
    (priority,) = _PRIORITY.unpack_from(payload, at)
    target, at = names.read(at + _PRIORITY.size)
    if at > end:
        raise UnreadableError("a service is cut off")
    if priority == 0:
        return Service(is_alias=True, target=target, hints=())  # parameters are ignored (2.4.2)
    hints: list[bytes] = []
    last_key = -1
    while at < end:
        names.step()
        key, length = _PARAMETER.unpack_from(payload, at)
        at += _PARAMETER.size
        if key <= last_key or at + length > end:  # in order, none twice (2.2)
            raise UnreadableError("the parameters of a service are not in order, or cut off")
        hints += _hints(payload[at : at + length], _HINT_BYTES.get(key))
        last_key = key
        at += length
    return Service(is_alias=False, target=target, hints=tuple(hints[:MOST_HINTS]))


def _hints(value: bytes, size: int | None) -> list[bytes]:
    if size is None:
        return []
    if not value or len(value) % size:
        raise UnreadableError(f"hints of {size} bytes each have {len(value)} bytes together")
    return [value[at : at + size] for at in range(0, min(len(value), MOST_HINTS * size), size)]
