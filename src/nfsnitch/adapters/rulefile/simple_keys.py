"""What the index wants of the simplest values, without making conditions of them.

Most fields of large files name one port, or one address or block of IPv4. Such a text can be taken,
and what a flow must have for it is the value itself; the condition is made when a flow comes by it.
"""

from __future__ import annotations

import socket

from nfsnitch.core.blocks import Block
from nfsnitch.core.conditions import read_daddr, read_dport, read_saddr
from nfsnitch.core.rule_keys import READERS, PlacedKeys

_MAX_PORT, _MOST_DIGITS = 65_535, 5
_BYTES, _BITS = 4, 32
_FREE_BITS = {str(length): _BITS - length for length in range(_BITS)}
_PORT_AT = {"dport": READERS.index(read_dport)}
_ADDRESS_AT = {"daddr": READERS.index(read_daddr), "saddr": READERS.index(read_saddr)}


def simple_keys(field: str, value: str) -> PlacedKeys | None:
    """Return what `KeyFinder` would of the condition; None: it is not that simple, or wrong."""
    at = _ADDRESS_AT.get(field)
    if at is not None:
        block = _block(value)
        return None if block is None else (at, block)
    at = _PORT_AT.get(field)
    if at is None or not value.isdigit() or not value.isascii() or len(value) > _MOST_DIGITS:
        return None
    port = int(value)
    return (at, port) if port <= _MAX_PORT and str(port) == value else None


def _block(value: str) -> Block | bytes | None:
    address, slash, length = value.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        return None
    if not slash:
        return packed
    free_bits = _FREE_BITS.get(length)
    if free_bits is None:
        return None
    first = int.from_bytes(packed, "big")
    prefix = first >> free_bits
    return Block(_BYTES, free_bits, prefix) if prefix << free_bits == first else None
