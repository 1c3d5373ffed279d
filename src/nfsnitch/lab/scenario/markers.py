"""Frames of the lab's own by which it learns that all frames sent before them have arrived.

Across a wire between two hosts that have no firewall it is a frame that nobody else sends. On the
client's wires it is a question by ARP whether anybody has the client's address, asked without an
address, as one asks before taking an address: the client's kernel answers it behind all that it has
sent before, and takes no note of who asked. A packet socket in the client would do, too, but the
firewall tells of those.
"""

from __future__ import annotations

import ipaddress
import struct

from nfsnitch.lab.scenario.wiring import End
from nfsnitch.lab.world import CLIENT

ETHERTYPE = 0x88B5
"""One for local experiments (IEEE 802)."""
_ETH_P_ARP, _ETH_P_8021Q = b"\x08\x06", b"\x81\x00"
_IPV4 = 0x0800
_ARP_REQUEST, _ARP_REPLY = 1, 2
_MAGIC = b"nfsnitch lab marker "
_ASKER = b"\x02nf"
"""What the hardware addresses begin with that ask by ARP; the marker's number follows."""
NUMBERS = 1 << 24
"""How many different ones there are."""
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_LEAST_BYTES = 60


def marker(number: int, from_: End, to: End) -> bytes:
    """Return a frame that comes to *to* behind all that was sent from *from_* before.

    It is for *from_* to send, or on a client's wire for the end that is not the client's, where the
    answer is what comes.
    """
    if CLIENT in (from_.host, to.host):
        far, client = (to, from_) if from_.host == CLIENT else (from_, to)
        return _question(number, far, client)
    head = _mac(to.mac) + _mac(from_.mac) + struct.pack("!H", ETHERTYPE)
    return (head + _MAGIC + _number(number)).ljust(_LEAST_BYTES, b"\0")


def read(frame: bytes) -> int | None:
    """Return a marker's number; None: another frame."""
    kind, body = frame[12:14], frame[14:]
    if kind == _ETH_P_8021Q:
        kind, body = frame[16:18], frame[18:]
    if kind == ETHERTYPE.to_bytes(2, "big") and body.startswith(_MAGIC):
        return int.from_bytes(body[len(_MAGIC) : len(_MAGIC) + 3], "big")
    if kind == _ETH_P_ARP and len(body) >= _ARP.size:
        *_, operation, sender, _, target, _ = _ARP.unpack_from(body)
        asker = target if operation == _ARP_REPLY else sender
        if asker.startswith(_ASKER):
            return int.from_bytes(asker[len(_ASKER) :], "big")
    return None


def _question(number: int, far: End, client: End) -> bytes:
    asker = _ASKER + _number(number)
    tag = b"" if far.wire.vlan is None else _ETH_P_8021Q + struct.pack("!H", far.wire.vlan)
    wanted = ipaddress.IPv4Address(client.answers_at).packed
    words = _ARP.pack(1, _IPV4, 6, 4, _ARP_REQUEST, asker, bytes(4), bytes(6), wanted)
    return (_mac(client.mac) + _mac(far.mac) + tag + _ETH_P_ARP + words).ljust(_LEAST_BYTES, b"\0")


def _number(number: int) -> bytes:
    return number.to_bytes(3, "big")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
