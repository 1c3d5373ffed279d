"""Packets of the kinds that are invented, and what is looked for where they may have come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.inventing.inventions import MALFORMED, Sent
from lab.inventing.predicting import UNKNOWN_PROTOCOL, flow_of
from nfsnitch.adapters.rulefile.problems import Position
from nfsnitch.core.flow import Protocol
from nfsnitch.lab.scenario.model import Layers, Range

NOWHERE = Position(0, "", 1, 1)
_FLAGS = {
    "syn": "S",
    "ack": "A",
    "rst": "R",
    "fin": "F",
    "null": "",
    "xmas": "FPU",
    "syn-fin": "SF",
    "data": "PA",
}
_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
_LONG = b"0123456789" * 6
_FRAGMENT_BYTES = 24
_FRAGMENTS = 3
"""Of 68 bytes."""
_TRUNCATED_BYTES = {4: 20 + 14, 6: 40 + 14}


def made_up(sent: Sent, sport: int) -> Layers:
    """Return the packet that is made up."""
    ip: dict[str, Any] = {"dst": sent.daddr}
    if sent.kind.startswith("fragments"):
        ip |= {} if sent.is_ipv6 else {"id": sport}
        backwards = tuple(reversed(range(_FRAGMENTS))) if "backwards" in sent.kind else ()
        layers = _layers(sent, ip, ("UDP", _ports(sent, sport)), ("Raw", {"load": _LONG}))
        return Layers(NOWHERE, layers, _FRAGMENT_BYTES, backwards)
    if sent.kind == "unknown":
        layers = _layers(sent, ip | {"proto": UNKNOWN_PROTOCOL}, ("Raw", {"load": _LONG}))
    elif sent.kind == "gre":
        layers = _layers(sent, ip | {"proto": 47}, ("GRE", {}), ("Raw", {"load": _LONG}))
    elif sent.kind == "options":
        no_operation: Any = (("IPOption_NOP", {}),) * 4
        layers = _layers(sent, ip | {"options": no_operation}, ("UDP", _ports(sent, sport)))
    elif sent.kind in {"echo", "timestamp"}:
        layers = _layers(sent, ip, _icmp(sent, sport))
    elif sent.kind == "udp":
        layers = _layers(sent, ip, ("UDP", _ports(sent, sport)), ("Raw", {"load": b"made up"}))
    else:
        layers = _layers(sent, ip, ("TCP", _ports(sent, sport) | _tcp(sent.kind)))
    cut = _TRUNCATED_BYTES[6 if sent.is_ipv6 else 4] if sent.kind == "cut-short" else None
    return Layers(NOWHERE, layers, truncate_bytes=cut)


def looked_for(sent: Sent, sport: int) -> Mapping[str, Mapping[str, Any]]:
    """Return what packets of it have, wherever they come to."""
    flow = flow_of(sent, sport)
    ip = {"dst": sent.daddr}
    name = "IPv6" if sent.is_ipv6 else "IP"
    if flow.icmp is not None:
        layer = "ICMPv6EchoRequest" if sent.is_ipv6 else "ICMP"
        return {name: ip, layer: {"id": _exactly(sport)}}
    if flow.proto in {UNKNOWN_PROTOCOL, Protocol.GRE}:
        return {name: ip | {"proto": _exactly(flow.proto)}}
    return {name: ip, "TCP" if flow.proto == Protocol.TCP else "UDP": {"sport": _exactly(sport)}}


def is_malformed(sent: Sent) -> bool:
    """Whether nobody can say what it is."""
    return sent.kind in MALFORMED


def _layers(
    sent: Sent, ip: Mapping[str, Any], *others: tuple[str, Mapping[str, Any]]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    return (("IPv6" if sent.is_ipv6 else "IP", ip), *others)


def _ports(sent: Sent, sport: int) -> dict[str, Any]:
    return {"sport": sport, "dport": sent.dport}


def _tcp(kind: str) -> dict[str, Any]:
    if kind == "bad-offset":
        return {"flags": _BITS["S"], "dataofs": 3}
    return {"flags": sum(_BITS[flag] for flag in _FLAGS.get(kind, "S"))}


def _icmp(sent: Sent, sport: int) -> tuple[str, Mapping[str, Any]]:
    if sent.is_ipv6:
        return "ICMPv6EchoRequest", {"id": sport}
    return "ICMP", {"type": 13 if sent.kind == "timestamp" else 8, "id": sport}


def _exactly(number: int) -> Range:
    return Range(number, number, str(number))
