"""The name of the server in the first data that a program sends it: TLS or HTTP over TCP.

What is read here was written by the program that is judged, so it is taken as hostile: nothing
raises, no more than `MAX_BYTES` are looked at, and what two readers may understand in different
ways is no name. A name that was found is what the server is going to read; whether the server is
one of that name is another matter.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nfsnitch.core.name import NameSource

MAX_BYTES = 65_536
"""Of a flow's first data; what has not said its name by then never will."""

_NAME_BYTES = 253
_LABEL = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rb"(?:%b\.)*%b\Z" % (_LABEL, _LABEL))
_NUMBER = re.compile(rb"(?:[0-9]+|0x[0-9a-f]*)\Z")


class Found(NamedTuple):
    """The first data names the server."""

    name: str
    """As in `core.name.Name.text`."""
    source: NameSource


class Incomplete(NamedTuple):
    """What there is may be the beginning of something that names the server."""


class Nothing(NamedTuple):
    """The first data does not tell, and more of it would not either."""

    reason: str
    """For people; what it quotes was checked to be a name."""


Reading = Found | Incomplete | Nothing

INCOMPLETE = Incomplete()


def checked_name(raw: bytes) -> str | None:
    """Return a name as DNS has it (RFC 1123, 2.1; RFC 5891), in lower case, without a final dot.

    None: that is no such name. A number at its end makes it an address to most who read it
    (WHATWG URL, "ends in a number"). Underscores are in use.
    """
    name = raw.lower().removesuffix(b".")
    if not name or len(name) > _NAME_BYTES or not _NAME.match(name):
        return None
    if _NUMBER.match(name.rpartition(b".")[2]):
        return None
    return name.decode("ascii")
