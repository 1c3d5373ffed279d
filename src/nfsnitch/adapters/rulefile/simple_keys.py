"""What the index wants of the simplest values, without making conditions of them.

Most fields of large files name one port, or one address or block of IPv4. Such a text can be taken,
and what a flow must have for it is the value itself; the condition is made when a flow comes by it.
"""

from __future__ import annotations

import re
import socket

from nfsnitch.core.blocks import Block
from nfsnitch.core.conditions import read_daddr, read_dport, read_saddr
from nfsnitch.core.rule_keys import READERS, PlacedKeys

_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_MAX_PORT = 65_535
_BITS = 32
_LENGTHS = {str(length): length for length in range(_BITS)}
_PORT_AT = {"dport": READERS.index(read_dport)}
_ADDRESS_AT = {"daddr": READERS.index(read_daddr), "saddr": READERS.index(read_saddr)}


def simple_keys(field: str, value: str) -> PlacedKeys | None:
    """Return what `KeyFinder` would of the condition; None: it is not that simple, or wrong."""
    at = _PORT_AT.get(field)
    if at is not None:
        is_port = _PORT.fullmatch(value) is not None and int(value) <= _MAX_PORT
        return (at, int(value)) if is_port else None
    at = _ADDRESS_AT.get(field)
    if at is None:
        return None
    address, slash, length = value.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        return None
    if not slash:
        return at, packed
    if length not in _LENGTHS:
        return None
    free_bits = _BITS - _LENGTHS[length]
    first = int.from_bytes(packed, "big")
    prefix = first >> free_bits
    return (at, Block(len(packed), free_bits, prefix)) if prefix << free_bits == first else None
