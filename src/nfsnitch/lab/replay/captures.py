"""The packets of captures, as far as they would have come before the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import NamedTuple

from nfsnitch.core.events import FlowArrived, MalformedArrived
from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import Names
from nfsnitch.core.name_sample import DnsPacket
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.packet import Malformed, parse
from nfsnitch.core.question_refusal import DNS_PORT
from nfsnitch.core.segment import read_segment
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.capture_files import Frame, frames
from nfsnitch.lab.replay.case import Put, numbered
from nfsnitch.lab.replay.clients import Clients
from nfsnitch.lab.replay.moments import Moments
from nfsnitch.lab.replay.names import dns_sample
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.owners import NOT_RECORDED, Owners
from nfsnitch.lab.replay.tracking import Sight, Tracker

NOT_SAID = Unknown("a capture does not say")
TO_BE_HEARD = Names(why_none="what the capture tells of names is looked up later")
"""Stands in findings whose names each ruleset's own ears have to tell."""


class Needs(NamedTuple):
    """What those who decide want to see besides first packets."""

    wants: Callable[[int, Flow], bool]
    """Whether any of them wants the further packets of a flow, by its number."""
    reads_data: Callable[[Flow], bool]
    """Whether any of them wants to know what a packet carries."""
    refuses_questions: bool
    """Whether any of them may refuse a DNS question: each is one of its own then."""


class Captures:
    """Reads captures one after the other, as if they were one."""

    def __init__(
        self, clients: Clients, owners: Owners | None, notes: Notes, numbers: Iterator[int]
    ) -> None:
        self._clients, self._owners, self._notes = clients, owners, notes
        self._moments = Moments()
        self._numbers = numbers
        self._tracker = Tracker(clients.has, notes, number=lambda: next(numbers))
        self._packet_ids = count(1)

    def read(self, paths: Sequence[Path], needs: Needs) -> Iterator[Put | DnsPacket]:
        """Yield what is put to the rules, and before it what is heard of names.

        Raises:
            BadInputError: a file cannot be read.

        """
        for path in paths:
            for frame in frames(path, self._notes):
                yield from self._taken(frame, needs)
        if self._moments.went_back:
            self._notes.count("packets before the time of the one before", self._moments.went_back)

    def _taken(self, frame: Frame, needs: Needs) -> Iterator[Put | DnsPacket]:
        flow = parse(frame.packet)
        now_ns = self._moments.monotonic_ns(frame.wall_ns)
        if isinstance(flow, Malformed):
            if self._clients.has(_sender(frame.packet)):
                now = self._moments.moment(frame.wall_ns)
                event = MalformedArrived(now, next(self._packet_ids), flow.problem, _iface(frame))
                yield Put(next(self._numbers), event)
            return
        sight = self._tracker.take(frame.packet, flow, now_ns)
        if DNS_PORT in {flow.sport, flow.dport}:
            sample = dns_sample(frame.packet, flow, now_ns, self._clients.has)
            if sample is not None:
                yield sample
        if sight is not None:
            yield from self._put(frame, flow, sight, needs)

    def _put(self, frame: Frame, flow: Flow, sight: Sight, needs: Needs) -> Iterator[Put]:
        is_question = (
            needs.refuses_questions and flow.dport == DNS_PORT and flow.proto == Protocol.UDP
        )
        if is_question and not sight.is_first:
            sight = Sight(next(self._numbers), is_first=True)
        if not sight.is_first and not needs.wants(sight.number, flow):
            return
        segment = read_segment(frame.packet, flow) if needs.reads_data(flow) else None
        if segment is not None and segment.tcp and segment.is_empty and not sight.is_first:
            return  # what may still decide it is data
        now = self._moments.moment(frame.wall_ns)
        found, iface = self._found(frame, flow, sight.number, now)
        is_local = self._clients.has(flow.daddr)
        event = FlowArrived(
            now, next(self._packet_ids), numbered(flow, sight.number), found, iface, segment
        )
        yield Put(sight.number, event, sight.is_first, is_local=is_local)

    def _found(
        self, frame: Frame, flow: Flow, number: int, now: Instant
    ) -> tuple[Finding, str | Unknown]:
        """Return whose it is; the socket is one of this flow alone."""
        iface = _iface(frame)
        if self._owners is None:
            return Finding(NOT_SAID, Attribution.NONE, number, names=TO_BE_HEARD), iface
        whose = self._owners.of(flow, now.wall_ns)
        if whose is None:
            return Finding(NOT_RECORDED, Attribution.NONE, number, names=TO_BE_HEARD), iface
        names = whose.names if whose.names.names else TO_BE_HEARD
        found = Finding(whose.owner, whose.attribution, number, whose.rivals, names=names)
        return found, whose.iface if isinstance(iface, Unknown) else iface


def _iface(frame: Frame) -> str | Unknown:
    return NOT_SAID if frame.iface is None else frame.iface


def _sender(packet: bytes) -> bytes:
    """Return the source address of a packet that cannot be read wholly; 0.0.0.0 if not even it."""
    if packet and packet[0] >> 4 == Family.IPV4 and len(packet) >= 16:  # noqa: PLR2004
        return packet[12:16]
    if packet and packet[0] >> 4 == Family.IPV6 and len(packet) >= 24:  # noqa: PLR2004
        return packet[8:24]
    return ip_address("0.0.0.0").packed  # noqa: S104  it is bound to nothing
