"""Names of hosts: what is known of the name behind a flow's destination address.

An address has no name of its own. It has those by which it was looked for: each `Name` here says
where it came from, and rules decide what that is worth.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class NameSource(StrEnum):
    """Where a name came from; every record says it."""

    DNS = "dns"
    """An answer of a DNS server to a question that was asked, seen on its way to the program."""
    LIBC = "libc"
    """What the C library gave the program that asked it (getaddrinfo(3) and its kind)."""
    TLS = "tls"
    """The server name in the TLS ClientHello of this very flow (RFC 6066, 3)."""
    QUIC = "quic"
    """The same in the QUIC Initial packet (RFC 9001)."""
    HTTP = "http"
    """The Host of the HTTP request in this very flow (RFC 9112, 3.2)."""


LEAST_FRESH_S = 60
"""So long every answer counts as fresh, whatever it says: programs keep what they are told for a
while, and some servers say 0 (dnsmasq, of what is in /etc/hosts)."""

FIRST_DATA = frozenset({NameSource.TLS, NameSource.QUIC, NameSource.HTTP})
"""Sources that speak of one flow, whatever address it goes to."""


class Name(NamedTuple):
    """One name by which an address was looked for."""

    text: str
    """In lower case, in A-labels (RFC 5890), without the final dot."""
    source: NameSource
    own: bool
    """The very process that sends has asked; else another one of this machine."""
    known_ns: int
    """When the answer came (monotonic)."""
    ttl_s: int | None = None
    """For how long the answer said it would hold; None: nobody said."""
    resolver: str | None = None
    """The address of the server that answered; None: the answer came from none."""
    aliases: tuple[str, ...] = ()
    """Names that the answer led to on the way to the address (CNAME), the last one last."""

    def is_stale(self, now_ns: int) -> bool:
        """Whether the answer said that it would not hold so long (*now_ns*: monotonic)."""
        ttl_s = self.ttl_s
        if ttl_s is None:
            return False
        return now_ns > self.known_ns + max(ttl_s, LEAST_FRESH_S) * 1_000_000_000


class Names(NamedTuple):
    """All names that count for one flow."""

    names: tuple[Name, ...] = ()
    """The latest first, no text twice. More than one: which one is meant, is ambiguous."""
    why_none: str = "no program has asked for a name of this address"
    may_come: bool = False
    """The flow's first data has not been seen, and may say which it is."""

    @property
    def is_ambiguous(self) -> bool:
        """Whether there are several, and nothing says which one is meant."""
        return len(self.names) > 1


NOT_LOOKED_UP = Names(why_none="no rule asks for names, and nobody looked")
