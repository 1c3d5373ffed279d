"""Conditions of OpenSnitch's rules on where a connection goes, as fields of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from itertools import pairwise

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.flow import packed_address
from nfsnitch.exchange import expressions
from nfsnitch.exchange.draft import is_host
from nfsnitch.exchange.expressions import Alternative, Branch, NotPlainError, Wild
from nfsnitch.exchange.globs import escaped
from nfsnitch.exchange.opensnitch_condition import (
    Aliases,
    Fields,
    Said,
    UnsayableError,
    alternatives_of,
    compiled,
    each_once,
    require,
    source_of,
)
from nfsnitch.exchange.opensnitch_rules import Operator

_PORTS = range(65_536)
_MAX_SPANS = 256
_PROTOCOLS: dict[str, Fields] = {
    **{name: {"proto": (name,), "family": ("ipv4",)} for name in ("tcp", "udp", "udplite", "sctp")},
    **{
        f"{name}6": {"proto": (name,), "family": ("ipv6",)}
        for name in ("tcp", "udp", "udplite", "sctp")
    },
    "icmp": {"proto": ("icmp",)},
    "icmp6": {"proto": ("icmpv6",)},
}
"""OpenSnitch's words for protocols, which name the family as well."""
_OF_BOTH_FAMILIES = ("tcp", "udp", "udplite", "sctp")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_OCTETS = 4


def port(name: str) -> Callable[[Operator, Aliases], Said]:
    """Return what translates a condition on ports into the field *name*."""

    def translate(operator: Operator, aliases: Aliases) -> Said:
        del aliases
        if operator.type == "range":
            ports = _range(operator.data)
        elif operator.type == "simple":
            is_port = _NUMBER.fullmatch(operator.data) and int(operator.data) in _PORTS
            ports = frozenset({int(operator.data)}) if is_port else frozenset()
        else:
            require(operator, "regexp")
            ports = _ports_of(source_of(operator))
        if len(ports) == len(_PORTS):
            return Said()
        if 0 in ports:
            raise UnsayableError(
                f"{operator.operand}: it also matches what has no ports, like ping"
            )
        if not ports:
            raise UnsayableError(f"{operator.operand} {quoted(operator.data)} matches no port")
        spans = _spans(sorted(ports))
        if len(spans) > _MAX_SPANS:
            what = f"{operator.operand} {quoted(operator.data)}"
            raise UnsayableError(f"{what} matches ports here and there: {len(spans)} ranges")
        return Said(({name: spans},))

    return translate


@lru_cache(maxsize=64)
def _ports_of(source: str) -> frozenset[int]:
    """Return the ports in whose digits an expression is found."""
    expression = compiled(source)
    return frozenset(port for port in _PORTS if expression.search(str(port).encode()))


def _range(data: str) -> frozenset[int]:
    first, _, last = data.replace(" ", "").partition("-")
    if _NUMBER.fullmatch(first) is None or _NUMBER.fullmatch(last) is None:
        raise UnsayableError(f"{quoted(data)} is no range")
    return frozenset(_PORTS[int(first) : int(last) + 1])


def _spans(ports: list[int]) -> tuple[str, ...]:
    """Return ascending *ports* as the fewest ranges."""
    starts = [ports[0], *(port for before, port in pairwise(ports) if port != before + 1)]
    ends = [*(before for before, port in pairwise(ports) if port != before + 1), ports[-1]]
    pairs = zip(starts, ends, strict=True)
    return tuple(str(start) if start == end else f"{start}-{end}" for start, end in pairs)


def protocol(operator: Operator, aliases: Aliases) -> Said:
    """Translate a condition on the protocol."""
    del aliases
    if operator.type == "simple":
        data = operator.data if operator.sensitive else operator.data.lower()
        words = {word for word in _PROTOCOLS if word == data}
    else:
        require(operator, "regexp")
        expression = compiled(source_of(operator))
        words = {word for word in _PROTOCOLS if expression.search(word.encode())}
    if len(words) == len(_PROTOCOLS):
        return Said()
    if not words:
        raise UnsayableError(f"protocol {quoted(operator.data)} is none that OpenSnitch knows")
    both = [name for name in _OF_BOTH_FAMILIES if {name, f"{name}6"} <= words]
    rest = [word for word in _PROTOCOLS if word in words and word.removesuffix("6") not in both]
    any_of: list[Fields] = [{"proto": tuple(both)}] if both else []
    return Said((*any_of, *(_PROTOCOLS[word] for word in rest)))


def address(name: str) -> Callable[[Operator, Aliases], Said]:
    """Return what translates a condition on an address into the field *name*."""

    def translate(operator: Operator, aliases: Aliases) -> Said:
        del aliases
        if operator.type == "simple":
            return Said(({name: (_written_address(operator.data, operator),)},))
        found = alternatives_of(operator)
        values = each_once(_address_of(each, operator) for each in found)
        return Said(({name: values},), in_part=_in_part(found))

    return translate


def _written_address(text: str, operator: Operator) -> str:
    """Return an address if it is written as OpenSnitch writes those that it compares it with."""
    try:
        written = str(ip_address(packed_address(text)))
    except ValueError:
        raise UnsayableError(f"{operator.operand} {quoted(text)} is no address") from None
    if text != written and (operator.sensitive or text.lower() != written):
        why = f"OpenSnitch compares texts, and always writes {written}"
        raise UnsayableError(f"{operator.operand} {quoted(text)} never matches: {why}")
    return written


def _address_of(alternative: Alternative, operator: Operator) -> str:
    """Return an address, or the block of addresses that begin with whole numbers."""
    text = _with_dots(alternative.tokens)
    if text is None or not alternative.at_start:
        raise NotPlainError("it finds addresses by a part of their digits (write a network)")
    if alternative.at_end:
        return _written_address(text, operator)
    octets = text.split(".")
    whole = octets[:-1]
    if octets[-1] or not 1 <= len(whole) < _OCTETS or not all(map(_is_octet, whole)):
        raise NotPlainError("it finds addresses by a part of their digits (write a network)")
    rest = ["0"] * (_OCTETS - len(whole))
    return f"{'.'.join([*whole, *rest])}/{8 * len(whole)}"


def _is_octet(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and int(text) < 256  # noqa: PLR2004


def network(operator: Operator, aliases: Aliases) -> Said:
    """Translate a condition on a network."""
    if operator.type != "network":
        raise UnsayableError(f"{operator.operand} is not compared with a network")
    name = "saddr" if operator.operand.startswith("source.") else "daddr"
    texts = aliases.networks.get(operator.data, (operator.data,))
    try:
        networks = [str(ip_network(text, strict=False)) for text in texts if "/" in text]
    except ValueError:
        networks = []
    if not networks:
        what = f"{operator.operand} {quoted(operator.data)}"
        raise UnsayableError(f"{what} is no network, nor an alias that is known (--aliases)")
    return Said(({name: each_once(networks)},))


def iface(operator: Operator, aliases: Aliases) -> Said:
    """Translate a condition on the interface."""
    del aliases
    if operator.type == "simple":
        folds = not operator.sensitive and operator.data.lower() != operator.data.upper()
        return Said(({"iface": (escaped(operator.data),)},), folds_case=folds)
    globs: list[str] = []
    for alternative in alternatives_of(operator):
        text = expressions.text_of(alternative.tokens)
        if text is None:
            raise NotPlainError("it has . in the middle")
        before, after = ("" if tied else "*" for tied in (alternative.at_start, alternative.at_end))
        globs.append(f"{before}{escaped(text)}{after}")
    return Said(({"iface": each_once(globs)},), folds_case=not operator.sensitive)


def host(operator: Operator, aliases: Aliases) -> Said:
    """Translate a condition on the name of the host."""
    del aliases
    if operator.type == "simple":
        host = operator.data.lower().rstrip(".")
        if not is_host(host) or host.startswith("*"):
            raise UnsayableError(f"dest.host {quoted(operator.data)} is no name of a host")
        return Said(({"host": (host,)},))
    found = alternatives_of(operator)
    hosts = sorted(map(_host_of, found), key=lambda host: (host.removeprefix("*."), host[0] == "*"))
    return Said(({"host": each_once(hosts)},), in_part=_in_part(found))


def _host_of(alternative: Alternative) -> str:
    """Return the name, or ``*.`` and the name, that *alternative* matches.

    Raises:
        NotPlainError: it matches others.

    """
    tokens = alternative.tokens
    if not alternative.at_end:
        raise NotPlainError("it does not say where the name ends ($)")
    if tokens[:2] == (Wild.ANY, Wild.MANY):  # .+ and what follows it
        tokens = tokens[2:]
    below = not alternative.at_start or tokens is not alternative.tokens
    text = _with_dots(tokens)
    if text is None or (below and not text.startswith(".")):
        raise NotPlainError("it finds names by a part of a label (write \\. before the domain)")
    return f"*{text.lower()}" if below else text.lower()


def _with_dots(tokens: Branch) -> str | None:
    """Return the text that *tokens* are if what is any character is meant as a dot."""
    return expressions.text_of(tuple("." if token is Wild.ANY else token for token in tokens))


def _in_part(found: Iterable[Alternative]) -> tuple[str, ...]:
    has_any = any(Wild.ANY in each.tokens for each in found)
    return ("a dot without \\ is any character there, and a dot here",) if has_any else ()
