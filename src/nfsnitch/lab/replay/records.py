"""Recorded decisions read back: the other way round than `core.record`.

What a record does not say stays unknown, with the reason that it gives, or with the reason that it
does not say it. Nothing is taken for known that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.flow import (
    BYPASS_NAMES,
    PROTOCOL_NAMES,
    Family,
    Flow,
    Icmp,
    packed_address,
)
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import NOT_FORWARDED, Attribution, Owner
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.case import Outcome
from nfsnitch.lab.replay.fields import (
    Json,
    UnreadableError,
    choice,
    integer,
    known_integer,
    known_text,
    text,
    unknown_in,
)
from nfsnitch.lab.replay.recorded_owner import read_owner

_PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}
_BYPASSES = tuple(BYPASS_NAMES.values())
_MOST_PROTOCOL = 255
_MOST_PORT = 65_535
_NS_PER_S = 1_000_000_000
_IPV4_BYTES = 4
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_ASKED = Unknown("a record does not say it")
_ASKED = frozenset(
    {
        Reason.ANSWERED,
        Reason.DISMISSED,
        Reason.GONE,
        Reason.HELD_LIMIT,
        Reason.SILENT,
        Reason.STOPPING,
        Reason.UNANSWERED,
    }
)
"""What became of flows for which the rules said `Action.ASK`."""
_ICMP_PROTOCOLS = frozenset({"icmp", "icmpv6"})


class Opened(NamedTuple):
    """A record of a packet socket that was opened: no flow, and nothing to replay."""


class Recorded(NamedTuple):
    """A decision as it was recorded."""

    wall_ns: int
    """When it was decided; of less than a microsecond records say nothing."""
    held_ns: int
    flow: Flow | Unknown
    """Unknown: the packet could not be read; the reason says why."""
    owner: Owner
    attribution: Attribution
    rivals: tuple[Owner, ...]
    iface: str | Unknown
    iface_in: str | Unknown
    names: Names
    """Times in it are by the clock of `wall_ns`."""
    decision: Outcome
    verdict: Verdict
    reason: Reason


def read_record(document: object) -> Recorded | Opened:
    """Return what the JSON of one record says.

    Raises:
        UnreadableError: it is no record; the message says why.

    """
    if not isinstance(document, Mapping):
        raise UnreadableError("it is no JSON object")
    if document.get("proto") in _BYPASSES:
        return Opened()
    wall_ns = _time_ns(text(document, "time"))
    flow = _flow(document)
    iface_in = known_text(document, "iface_in") if "iface_in" in document else NOT_FORWARDED
    # It is the namespace where the packet was seen; of what is forwarded, not that of its owner.
    netns: int | Unknown = integer(document, "netns")
    if iface_in is not NOT_FORWARDED:
        netns = Unknown("a record of what is forwarded does not say it")
    rivals = document.get("rivals", [])
    if not isinstance(rivals, list):
        raise UnreadableError("rivals is no list")
    verdict, reason = choice(document, "verdict", Verdict), choice(document, "reason", Reason)
    return Recorded(
        wall_ns,
        round(_number(document, "held_ms") * 1_000_000),
        flow,
        read_owner(document, netns),
        choice(document, "attribution", Attribution),
        tuple(read_owner(each, netns) for each in rivals),
        known_text(document, "iface"),
        iface_in,
        _names(document, wall_ns),
        _decision(document, verdict, reason),
        verdict,
        reason,
    )


def _decision(document: Json, verdict: Verdict, reason: Reason) -> Outcome:
    action = choice(document, "action", Action)
    rule, listed = document.get("rule"), document.get("list")
    if rule is not None and not isinstance(rule, str):
        raise UnreadableError("rule is no text")
    entry = text(listed, "entry") if isinstance(listed, Mapping) else None
    if reason in _ASKED:
        action = Action.ASK
    elif reason is Reason.NAME_AWAITED and verdict is Verdict.ACCEPT:
        action = Action.ALLOW
    return Outcome(action.value, reason.value, rule, entry, verdict.value)


def _time_ns(said: str) -> int:
    try:
        moment = datetime.fromisoformat(said)
        return (moment - _BEGINNING) // timedelta(microseconds=1) * 1_000
    except (TypeError, ValueError, OverflowError):
        raise UnreadableError("time is no moment in UTC") from None


def _number(document: Json, field: str) -> float:
    value = document.get(field)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnreadableError(f"{field} is no number")
    if not 0 <= value < 1e12:  # noqa: PLR2004  30 years; and no NaN
        raise UnreadableError(f"{field} is out of range")
    return value


def _flow(document: Json) -> Flow | Unknown:
    if (unknown := unknown_in(document, "proto")) is not None:
        return unknown
    name = text(document, "proto")
    proto = _PROTOCOLS.get(name)
    if proto is None:
        proto = int(name[:4]) if name.isascii() and name.isdecimal() else -1
        if not 0 <= proto <= _MOST_PROTOCOL or str(proto) != name:
            raise UnreadableError("proto is no protocol")
    saddr, daddr = _address(document, "saddr"), _address(document, "daddr")
    if len(saddr) != len(daddr):
        raise UnreadableError("saddr and daddr are of two families")
    family = Family.IPV4 if len(saddr) == _IPV4_BYTES else Family.IPV6
    ports = (_port(document, "sport"), _port(document, "dport"))
    icmp = None
    if "icmp_type" in document:
        kind, code = integer(document, "icmp_type"), integer(document, "icmp_code")
        icmp = Icmp(kind, code, _NOT_ASKED)
    elif name in _ICMP_PROTOCOLS and not isinstance(ports[0], Unknown):
        raise UnreadableError(f"{name} has no ports")
    return Flow(family, proto, saddr, daddr, *ports, icmp)


def _address(document: Json, field: str) -> bytes:
    try:
        return packed_address(text(document, field))
    except ValueError:
        raise UnreadableError(f"{field} is no address") from None


def _port(document: Json, field: str) -> int | Unknown:
    port = known_integer(document, field)
    if not isinstance(port, Unknown) and port > _MOST_PORT:
        raise UnreadableError(f"{field} is no port")
    return port


def _names(document: Json, wall_ns: int) -> Names:
    if (unknown := unknown_in(document, "host")) is not None:
        return Names(why_none=unknown.reason)
    rows = document.get("names")
    if not isinstance(rows, list) or not rows:
        # An earlier version may have said nothing of names.
        return Names(why_none=_NOT_ASKED.reason)
    return Names(tuple(_name(row, wall_ns) for row in rows))


def _name(row: object, wall_ns: int) -> Name:
    if not isinstance(row, Mapping):
        raise UnreadableError("names has something that is no JSON object")
    ttl_s = None if row.get("ttl_s") is None else integer(row, "ttl_s")
    resolver = None if row.get("resolver") is None else text(row, "resolver")
    aliases = row.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(each, str) for each in aliases):
        raise UnreadableError("aliases is no list of texts")
    known_ns = wall_ns - round(_number(row, "age_s") * _NS_PER_S)
    own = row.get("own") is True
    source = choice(row, "source", NameSource)
    return Name(text(row, "name"), source, own, known_ns, ttl_s, resolver, tuple(aliases))
