"""Little Snitch's rules as its ``.lsrules`` files have them: one JSON object for a group of rules.

Source: its manual, chapters "The .lsrules file format" and on the precedence of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import Any

from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.adapters.rulefile.values import parse_addresses
from nfsnitch.core.flow import PROTOCOL_NAMES
from nfsnitch.core.ranges import AddressRange
from nfsnitch.exchange.json_text import NotReadableError, parse

MAX_VALUES = 200_000
"""Of one field of one rule."""
ANY = "any"

TOP_LEVEL = ("name", "description", "rules")
DENIED = {
    "denied-remote-domains": "remote-domains",
    "denied-remote-hosts": "remote-hosts",
    "denied-remote-addresses": "remote-addresses",
}
"""Keys that stand for many rules, with the field that each of these has."""
DENIED_NOTES = "denied-remote-notes"
_REMOTES = ("remote-addresses", "remote-hosts", "remote-domains", "remote")
_KEYS = frozenset(
    {
        *("action", "process", "via", *_REMOTES, "ports", "protocol", "direction", "priority"),
        *("disabled", "notes", "owner"),
    }
)
ANNOTATIONS = frozenset({"creationDate", "modificationDate", "origin", "help", "uuid"})
"""What a rule may have and no connection depends on."""
_PRIORITIES = {"high": True, "regular": False, "default": False}
_DIRECTIONS = ("outgoing", "incoming", "both", ANY)
_ACTIONS = ("allow", "deny", "ask")
_PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}
_PORT = re.compile(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", re.ASCII)
_MAX_PORT = 65_535
_MAX_PROTO = 255


class Server(IntEnum):
    """What a rule says of the other end; the lower one has precedence over the higher."""

    ADDRESSES = 0
    HOSTS = 1
    DOMAINS = 2
    DNS_SERVERS = 3
    BROADCAST = 4
    MULTICAST = 5
    BONJOUR = 6
    LOCAL_NET = 7
    ANY = 8
    BPF = 9


_SERVERS = {
    "dns-servers": Server.DNS_SERVERS,
    "broadcast": Server.BROADCAST,
    "multicast": Server.MULTICAST,
    "bonjour": Server.BONJOUR,
    "local-net": Server.LOCAL_NET,
    ANY: Server.ANY,
    "bpf": Server.BPF,
}
_SERVERS_BY_KEY = {
    "remote-addresses": Server.ADDRESSES,
    "remote-hosts": Server.HOSTS,
    "remote-domains": Server.DOMAINS,
}


class NotARuleError(ValueError):
    """What cannot be a rule; the message is for people."""


@dataclass(frozen=True, slots=True)
class LittleSnitchRule:
    """One rule, or many that differ by nothing but one value of their server."""

    action: str
    process: str | None
    """None: any."""
    via: str | None
    server: Server
    values: tuple[str, ...]
    """Addresses, hosts or domains."""
    ports: tuple[str, ...]
    """None at all: any."""
    protocol: str | None
    direction: str
    is_high: bool
    disabled: bool
    notes: str
    owner: str
    is_many: bool = False
    """Each of the values is a rule of its own."""

    @property
    def precedence(self) -> tuple[int, ...]:
        """What rules sort by: of two that match the lesser one decides.

        Up to the length of lists it is as the manual says, and so is "the more specific one"; in
        which order the remaining properties are looked at, it leaves open.
        """
        width = max(map(_width(self.server), self.values), default=0)
        ports = sum(_port_count(each) for each in self.ports) if self.ports else _MAX_PORT + 1
        return (
            not self.is_high,
            self.server,
            1 if self.is_many else len(self.values),
            width,
            (self.process is None) + (self.via is None),
            ports,
            self.protocol is None,
            ("deny", "ask", "allow").index(self.action),
        )


def read_group(text: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the group's object, and keys in it of which nothing is known.

    Raises:
        NotReadableError: the text is no JSON object.

    """
    found = parse(text)
    if not isinstance(found, dict):
        raise NotReadableError("it is no JSON object")
    known = {*TOP_LEVEL, *DENIED, DENIED_NOTES}
    return found, tuple(key for key in found if key not in known)


def read_rule(found: object) -> LittleSnitchRule:
    """Return one rule of a group.

    Raises:
        NotARuleError: it is none.

    """
    if not isinstance(found, dict):
        raise NotARuleError("a rule is a JSON object")
    for key in found:
        if key not in _KEYS and key not in ANNOTATIONS:
            raise NotARuleError(f"nothing is known of {quoted(key)}")
    server, values = _server(found)
    return LittleSnitchRule(
        _word(found, "action", _ACTIONS, "ask"),
        _program(found, "process"),
        _program(found, "via"),
        server,
        values,
        _ports(found.get("ports", ANY)),
        _protocol(found.get("protocol", ANY)),
        _word(found, "direction", _DIRECTIONS, "outgoing"),
        _PRIORITIES[_word(found, "priority", tuple(_PRIORITIES), "regular")],
        _flag(found, "disabled"),
        _text(found, "notes", ""),
        _text(found, "owner", ANY),
    )


def denied(key: str, found: object, notes: str) -> Iterator[LittleSnitchRule]:
    """Yield the rules that the list under *key* of `DENIED` stands for, those of one rank together.

    Raises:
        NotARuleError: it is no list of texts.

    """
    server = _SERVERS_BY_KEY[DENIED[key]]
    ranks: dict[int, list[str]] = {}
    for value in _values(key, found):
        ranks.setdefault(_width(server)(value), []).append(value)
    for values in ranks.values():
        yield LittleSnitchRule(
            "deny",
            None,
            None,
            server,
            tuple(dict.fromkeys(values)),
            (),
            None,
            "outgoing",
            is_high=False,
            disabled=False,
            notes=notes,
            owner=ANY,
            is_many=True,
        )


def addresses(value: str) -> AddressRange | None:
    """Return what an address, a block or a range stands for; None if it is none."""
    try:
        if "/" in value:
            value = str(ip_network(value, strict=False))
        return parse_addresses(value)
    except (Refused, ValueError):
        return None


def _server(found: Mapping[str, Any]) -> tuple[Server, tuple[str, ...]]:
    keys = [key for key in _REMOTES if key in found]
    if len(keys) > 1:
        raise NotARuleError(f"it has {' and '.join(keys)}, of which a rule has one")
    if not keys:
        return Server.ANY, ()
    key = keys[0]
    if key != "remote":
        values = _values(key, found[key])
        if not values:
            raise NotARuleError(f"{key} names none")
        return _SERVERS_BY_KEY[key], values
    return _SERVERS[_word(found, key, tuple(_SERVERS), ANY)], ()


def _values(key: str, found: object) -> tuple[str, ...]:
    given = found if isinstance(found, list) else [found]
    texts = [each for each in given if isinstance(each, str)]
    if len(texts) < len(given):
        raise NotARuleError(f"{key} is a text or a list of texts")
    values = [part.strip() for each in texts for part in each.split(",")]
    if len(values) > MAX_VALUES:
        raise NotARuleError(f"{key} has more than {MAX_VALUES} values")
    return tuple(dict.fromkeys(each for each in values if each))


def _ports(found: object) -> tuple[str, ...]:
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise NotARuleError("ports is a text, as in '80, 443, 8000-8080'")
    if found.strip().lower() in {ANY, ""}:
        return ()
    return tuple(_port_range(part.strip()) for part in found.split(","))


def _port_range(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None:
        raise NotARuleError(f"ports {quoted(text)}: it is no port and no range of ports")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last <= _MAX_PORT:
        raise NotARuleError(f"ports {quoted(text)}: there is no such range of ports")
    return str(first) if first == last else f"{first}-{last}"


def _port_count(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last or first) - int(first) + 1


def _protocol(found: object) -> str | None:
    """Return the protocol's name in our rules, or its number; None: any."""
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise NotARuleError("protocol is a text, as in 'tcp'")
    word = found.strip().lower()
    if word == ANY:
        return None
    if word in _PROTOCOL_NUMBERS:
        return word
    if word.isascii() and word.isdecimal() and int(word[:4]) <= _MAX_PROTO:
        return PROTOCOL_NAMES.get(int(word), str(int(word)))
    raise NotARuleError(f"protocol {quoted(found)} is none that is known")


def _program(found: Mapping[str, Any], key: str) -> str | None:
    text = _text(found, key, ANY).strip()
    return None if text.lower() in {ANY, ""} else text


def _word(found: Mapping[str, Any], key: str, words: Sequence[str], default: str) -> str:
    word = _text(found, key, default).strip().lower()
    if word not in words:
        raise NotARuleError(f"{key} {quoted(word)} is none of {', '.join(words)}")
    return word


def _text(found: Mapping[str, Any], key: str, default: str) -> str:
    value = found.get(key, default)
    if not isinstance(value, str):
        raise NotARuleError(f"{key} is a text")
    return value


def _flag(found: Mapping[str, Any], key: str) -> bool:
    value = found.get(key, False)
    if not isinstance(value, bool):
        raise NotARuleError(f"{key} is true or false")
    return value


def _width(server: Server) -> Callable[[str], int]:
    """Return what tells how much a value of a rule stands for: the less, the more specific."""
    if server is Server.ADDRESSES:
        return _address_count
    if server is Server.DOMAINS:
        return _missing_labels
    return lambda value: 0 * len(value)


def _address_count(value: str) -> int:
    found = addresses(value)
    return 0 if found is None else found.last - found.first + 1


def _missing_labels(domain: str) -> int:
    """Return less for domains of more labels."""
    return -domain.strip(".").count(".")


def written_address(value: str) -> str | None:
    """Return an address, block or range as our rules have it; None if it is none."""
    if addresses(value) is None:
        return None
    if "/" in value:
        return str(ip_network(value, strict=False))
    ends = [str(ip_address(end.strip())) for end in value.split("-", 1)]
    return "-".join(ends)
