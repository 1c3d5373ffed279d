"""What holds of each example, whatever was invented: looked at when it has been played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from lab.inventing.inventions import PROGRAMS, RAW, Invention
from lab.inventing.predicting import UNKNOWN_PROTOCOL, is_decided_by_rules, path_of, ruleset_of
from nfsnitch.core.case import Case
from nfsnitch.core.decision import VERDICTS, Action, Reason
from nfsnitch.core.flow import Protocol
from nfsnitch.core.record import Json
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.moments import Moments
from nfsnitch.lab.replay.records import Opened, read_record
from nfsnitch.lab.scenario.layers import layer_class
from nfsnitch.lab.scenario.stage import Stage
from nfsnitch.lab.scenario.standard import SERVER

_CLIENT = ("192.0.2.2", "2001:db8::2")
_ERRORS = {("ICMP", 3), ("ICMP", 11), ("ICMPv6DestUnreach", 1)}
"""What the kernel says of what has come, as part of that."""
_FRAGMENT = 44
_PORTLESS = {
    Protocol.ICMP.value: "icmp",
    Protocol.ICMPV6.value: "icmpv6",
    Protocol.GRE.value: "gre",
    UNKNOWN_PROTOCOL: str(UNKNOWN_PROTOCOL),
}


def broken(invention: Invention, stage: Stage) -> Iterator[str]:
    """Yield in words what does not hold, on a stage that has just played the example."""
    records = stage.daemon.records
    generation = stage.daemon.status().generation
    yield from _ruled_otherwise(_rulesets(invention, generation), records)
    yield from _arrived_in_silence(stage, records)


def _rulesets(invention: Invention, last: int) -> dict[int, Ruleset]:
    """Return the rules by their generations, of which *last* is the last."""
    files = [each for each in (invention.rules, invention.more_rules) if each is not None]
    paths = {name: path_of(name) for name in (*PROGRAMS, RAW)}
    texts = [each.text() for each in files]
    return {
        last - len(texts) + 1 + number: ruleset_of(text, paths) for number, text in enumerate(texts)
    }


def _ruled_otherwise(rulesets: dict[int, Ruleset], records: Sequence[Json]) -> Iterator[str]:
    """Yield which records say something else than the rules do."""
    for record in records:
        read = read_record(_with_invented_paths(record))
        if isinstance(read, Opened) or isinstance(read.flow, Unknown):
            continue
        if read.reason is Reason.CUT or record["generation"] not in rulesets:
            continue
        now = Moments().at(read.wall_ns)
        case = Case(read.flow, read.owner, read.iface, now, read.iface_in, read.names)
        ruling = rulesets[record["generation"]].rule_on(case)
        if ruling.action is Action.ASK:
            if is_decided_by_rules(read.reason):
                yield f"somebody had to be asked about it, by {ruling.rule}: {record}"
        elif read.verdict is not VERDICTS[ruling.action] or record["rule"] != ruling.rule:
            yield f"the rules say {ruling.action}, by {ruling.rule}, of what is recorded: {record}"


def _with_invented_paths(record: Json) -> Json:
    exe = record["exe"]
    name = PurePosixPath(exe).name if isinstance(exe, str) else ""
    return record | {"exe": path_of(name)} if name in {*PROGRAMS, RAW} else record


def _arrived_in_silence(stage: Stage, records: Sequence[Json]) -> Iterator[str]:
    """Yield what has come to the server from the client that no record lets out."""
    let_out = {_tuple_of(record) for record in records if record["verdict"] == "accept"}
    ether = layer_class("Ether")
    for frame in stage.captures.frames(SERVER):
        packet = ether(frame.data)
        seen = _seen(packet)
        if not frame.is_outgoing and seen is not None and seen not in let_out:
            yield f"this has come, and no record lets it out: {packet.summary()}"


def _tuple_of(record: Json) -> tuple[object, ...]:
    ports = (record[name] if isinstance(record[name], int) else 0 for name in ("sport", "dport"))
    return record["proto"], record["saddr"], record["daddr"], *ports


def _seen(packet: Any) -> tuple[object, ...] | None:  # noqa: ANN401  of scapy
    """Return what a record would say of a packet; None: none has to speak of it."""
    ip = next((packet[name] for name in ("IP", "IPv6") if packet.haslayer(name)), None)
    if ip is None or ip.src not in _CLIENT or _is_later_fragment(ip) or _is_error(ip):
        return None
    for name in ("TCP", "UDP"):
        if ip.haslayer(name):
            return name.lower(), ip.src, ip.dst, ip[name].sport, ip[name].dport
    proto = _PORTLESS.get(ip.proto if ip.name == "IP" else ip.nh)
    return None if proto is None else (proto, ip.src, ip.dst, 0, 0)


def _is_later_fragment(ip: Any) -> bool:  # noqa: ANN401  of scapy
    if ip.name == "IP":
        return bool(ip.frag)
    return ip.nh == _FRAGMENT and bool(ip.payload.offset)


def _is_error(ip: Any) -> bool:  # noqa: ANN401  of scapy
    return any(ip.haslayer(layer) and ip[layer].type == kind for layer, kind in _ERRORS)
