"""Questions in what one UDP packet carries: there may be more of them than one.

A program may hand the kernel a train of datagrams at once, which is cut up behind all chains
(udp(7), UDP_SEGMENT). It comes to us as one packet, and nothing in that says where it will be cut.
"""

from __future__ import annotations

import re

from nfsnitch.core.packet import Malformed
from nfsnitch.core.segment import Segment

_LEAST_BYTES = 17
"""Of a question for the root; the next one begins behind it at the earliest."""
_BEGINNING = re.compile(rb"(?=..[\x00-\x07].\x00\x01)", re.DOTALL)
"""A header (RFC 1035, 4.1.1) of a query, of the standard kind, with one question."""
_MOST_BEGINNINGS = 16


def messages_of(segment: Segment) -> list[bytes] | Malformed:
    """Return the message that a datagram is, and what may be others from where they begin on.

    Those others may be anything; they have to be read, too, but need not be readable.
    """
    if segment.is_cut:
        return Malformed("it is longer than what the kernel shows of a packet")
    data = segment.data
    messages = [data]
    for found in _BEGINNING.finditer(data, _LEAST_BYTES):
        messages.append(data[found.start() :])
        if len(messages) > _MOST_BEGINNINGS:
            return Malformed(f"there may be more than {_MOST_BEGINNINGS} questions in it")
    return messages
