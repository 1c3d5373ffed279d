"""What a line of a list can say, and reading a domain or a network from its text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import (
    IPv4Network,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import NamedTuple

_PLAIN = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}", re.ASCII)
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_LIKE_ADDRESS = re.compile(r"[0-9.]+(?:[/-][0-9./]+)?|[^\s]*:[^\s]*", re.ASCII)
_MAX_CHARACTERS = 253
"""Of a name in its textual form (RFC 1035, 2.3.4)."""
_MOST_BLOCKS = 64
"""A range of addresses becomes no more blocks than that (an IPv4 one never needs more)."""
_SHORTEST_IPV4 = 3
"""Multicast and reserved addresses are 224.0.0.0/3, which lists of bogus addresses have."""
_GLOBAL_IPV6 = IPv6Network("2000::/3")


class BadLineError(Exception):
    """A line that cannot be used; the message says why."""


class Scope(IntEnum):
    """Which names an entry means."""

    WHOLE = 0
    """A domain and all that is below it."""
    EXACT = 1
    """This name alone."""
    BELOW = 2
    """All that is below it."""


class Domain(NamedTuple):
    """A name that is listed, or that is not to be."""

    name: str
    """In lower case, in A-labels, without the final dot."""
    scope: Scope = Scope.WHOLE
    is_exception: bool = False
    is_important: bool = False
    """Listed even where an exception says otherwise."""


class Network(NamedTuple):
    """A block of addresses that is listed."""

    version: int
    """4 or 6."""
    first: int
    """The first address as a number."""
    prefix: int
    """How many bits all addresses have in common."""


class Unsupported(NamedTuple):
    """A line that says something which a firewall cannot tell."""

    kind: str


Item = Domain | Network | Unsupported


def domain_name(text: str) -> str:
    """Return the name of a domain as it is looked up.

    Raises:
        BadLineError: *text* is none, or a top-level domain: a line that has lost its first part
            would otherwise name half the world.

    """
    name = text.lower().removesuffix(".")
    if _PLAIN.fullmatch(name) is None or len(name) > _MAX_CHARACTERS:
        name = _unusual_name(name)
    if name[name.rfind(".") + 1 :].isdecimal():
        raise BadLineError("a number is no top-level domain")
    return name


def _unusual_name(name: str) -> str:
    if not name or name in {"*", "*."}:
        raise BadLineError("it names nothing, or everything")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise BadLineError("this is no name that DNS can have") from None
    if _LABELS.fullmatch(name) is None or len(name) > _MAX_CHARACTERS:
        raise BadLineError("this is neither a domain nor an address")
    if "." not in name:
        raise BadLineError("a whole top-level domain is not taken from a list")
    return name


def looks_like_address(text: str) -> bool:
    """Whether *text* can only be meant as an address, a block or a range."""
    return (text[:1].isdigit() or ":" in text) and _LIKE_ADDRESS.fullmatch(text) is not None


def networks_of(text: str) -> tuple[Network, ...]:
    """Return the blocks of an address, of a block, or of a range ``first-last``.

    Bits behind the prefix do not count: 192.0.2.7/24 is 192.0.2.0/24.

    Raises:
        BadLineError: *text* is nothing of the kind, or takes in most of all addresses.

    """
    first, dash, last = text.partition("-")
    try:
        found = _range(first, last) if dash else (ip_network(text.strip("[]"), strict=False),)
    except (ValueError, TypeError):
        raise BadLineError("this is neither an address nor a network") from None
    for each in found:
        if _is_too_wide(each):
            raise BadLineError("a network of nearly all addresses is not taken from a list")
    return tuple(Network(each.version, int(each.network_address), each.prefixlen) for each in found)


def _range(first: str, last: str) -> tuple[IPv4Network | IPv6Network, ...]:
    begin, end = ip_address(first.strip()), ip_address(last.strip())
    if type(begin) is not type(end):
        raise BadLineError("a range begins and ends with addresses of one family")
    blocks: Iterable[IPv4Network | IPv6Network]
    blocks = summarize_address_range(begin, end)
    found = []
    for each in blocks:
        found.append(each)
        if len(found) > _MOST_BLOCKS:
            raise BadLineError("the range is too ragged: write it as blocks")
    return tuple(found)


def _is_too_wide(network: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network):
        return network.prefixlen < _SHORTEST_IPV4
    return _GLOBAL_IPV6.subnet_of(network)
