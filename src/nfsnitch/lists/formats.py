"""How the lines of each format are read, and which format a list has.

A reader takes a line, stripped and not empty, and returns what it says: None for a comment. It
raises `BadLineError` for what it cannot read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from nfsnitch.core.listing import ListFormat
from nfsnitch.lists.adblock import read_filter
from nfsnitch.lists.items import (
    BadLineError,
    Domain,
    Item,
    Scope,
    domain_name,
    looks_like_address,
    networks_of,
)

Reader = Callable[[str], Sequence[Item] | None]

_COMMENTS = ("#", "!", ";", "//")
_INLINE = re.compile(r"\s+[#!;].*|[#;].*")
_FILTER = re.compile(r"@@\|\||\|\||.*#[@?$%]{0,3}#|\[Adblock", re.IGNORECASE)
_STANDARD = frozenset(
    {
        "localhost",
        "localhost.localdomain",
        "localhost4",
        "localhost4.localdomain4",
        "localhost6",
        "localhost6.localdomain6",
        "local",
        "broadcasthost",
        "ip6-localhost",
        "ip6-loopback",
        "ip6-localnet",
        "ip6-mcastprefix",
        "ip6-allnodes",
        "ip6-allrouters",
        "ip6-allhosts",
        "0.0.0.0",  # noqa: S104  a line of some well-known lists, and no address to listen at
    }
)
"""Names that hosts files have for the machine itself and its networks."""


def read_hosts(line: str) -> Sequence[Item] | None:
    """Read a line of hosts(5): what stands behind the address is listed, and it alone."""
    words = _words(line)
    if not words:
        return None
    address, *names = words
    if not looks_like_address(address.partition("%")[0]):
        raise BadLineError("a line of a hosts file begins with an address")
    if not names:
        raise BadLineError("there is no name behind the address")
    wanted = [name for name in names if name.lower() not in _STANDARD]
    return [Domain(domain_name(name), Scope.EXACT) for name in wanted] or None


def read_domains(line: str) -> Sequence[Item] | None:
    """Read a domain, which means all that is below it, too; or an address."""
    words = _words(line)
    if not words:
        return None
    if len(words) > 1:
        raise BadLineError("there is more than a domain on the line")
    name = words[0]
    if looks_like_address(name):
        return networks_of(name)
    if name.startswith("*."):
        return (Domain(domain_name(name[2:]), Scope.BELOW),)
    return (
        Domain(
            domain_name(name.removeprefix(".")),
        ),
    )


def read_networks(line: str) -> Sequence[Item] | None:
    """Read an address, a block or a range."""
    words = _words(line)
    if not words:
        return None
    text = words[0] if len(words) == 1 else "".join(words)
    return networks_of(text)


READERS: dict[ListFormat, Reader] = {
    ListFormat.HOSTS: read_hosts,
    ListFormat.DOMAINS: read_domains,
    ListFormat.ADBLOCK: read_filter,
    ListFormat.NETWORKS: read_networks,
}


def format_of(lines: Iterable[str]) -> ListFormat:
    """Return the format that most of the lines seem to have."""
    votes = Counter(vote for line in lines if line and (vote := _vote(line)))
    if not votes:
        return ListFormat.DOMAINS
    if votes[ListFormat.ADBLOCK] * 4 >= votes.total():  # their exceptions and headers are telling
        return ListFormat.ADBLOCK
    return votes.most_common(1)[0][0]


def _vote(line: str) -> ListFormat | None:
    if _FILTER.match(line) and not line.startswith("##"):
        return ListFormat.ADBLOCK
    words = _words(line)
    if not words:
        return None
    if looks_like_address(words[0].partition("%")[0]):
        is_hosts = len(words) > 1 and words[1] != "-"
        return ListFormat.HOSTS if is_hosts else ListFormat.NETWORKS
    return ListFormat.DOMAINS


def _words(line: str) -> list[str]:
    if line.startswith(_COMMENTS):
        return []
    if "#" in line or ";" in line or "!" in line:
        line = _INLINE.sub("", line, count=1)
    return line.split()
