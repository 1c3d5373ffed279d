"""Recorded decisions as packets that come before the rules once more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from nfsnitch.core.decision import Reason, Verdict
from nfsnitch.core.events import FlowArrived, MalformedArrived, PacketFailed
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.name import Names
from nfsnitch.core.name_sample import TcpPlace
from nfsnitch.core.owner import Finding
from nfsnitch.core.packet import Malformed
from nfsnitch.core.segment import SYN, Segment
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.case import Put, numbered
from nfsnitch.lab.replay.moments import Moments
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.record_files import recorded
from nfsnitch.lab.replay.records import Recorded

_NO_SOCKET = Unknown("a record does not say which socket sent")
_OF_QUESTION = Names(why_none="it was recorded for the name that it asks for")
_FIRST = TcpPlace(0, 0, SYN)


class RecordedCases:
    """Reads records, and has them decided anew."""

    def __init__(self, notes: Notes, numbers: Iterator[int]) -> None:
        self._notes, self._numbers = notes, numbers
        self._moments = Moments()
        self._packet_ids = count(1)

    def read(self, path: Path) -> Iterator[Put]:
        """Yield what is put to the rules.

        Raises:
            BadInputError: the file cannot be read.

        """
        for each in recorded(path, self._notes):
            yield self.put(each)

    def put(self, each: Recorded) -> Put:
        """Return the packet on which a decision was recorded."""
        number, packet_id = next(self._numbers), next(self._packet_ids)
        now = self._moments.at(max(0, each.wall_ns - each.held_ns))  # when its packet came
        if isinstance(each.flow, Unknown):
            kind = PacketFailed if each.reason is Reason.ERROR else MalformedArrived
            event = kind(now, packet_id, each.flow.reason, each.iface)
            return Put(number, event, before=each.decision)
        is_question = each.reason is Reason.QUESTION
        names = _OF_QUESTION if is_question else each.names
        # It had ended without any data, which might have told a name: that is what is put.
        closes = each.reason is Reason.NAME_AWAITED and each.verdict is Verdict.ACCEPT
        found = Finding(
            each.owner,
            each.attribution,
            number if closes else _NO_SOCKET,
            each.rivals,
            iface_in=each.iface_in,
            names=names,
        )
        segment = _question(each.flow) if is_question else None
        if closes and each.flow.proto == Protocol.TCP:
            segment = Segment(b"", tcp=_FIRST)
        flow = numbered(each.flow, number)
        return Put(
            number,
            FlowArrived(now, packet_id, flow, found, each.iface, segment),
            before=each.decision,
            question=_name_asked(each.names) if is_question else None,
            closes=closes,
            is_own=each.reason is Reason.OWN,
        )


def _question(flow: Flow) -> Segment:
    """Return what carries a question of no bytes, which are not recorded; its name is."""
    if flow.proto == Protocol.TCP:
        return Segment(bytes(2), tcp=_FIRST)
    return Segment(b"")


def _name_asked(names: Names) -> str | Malformed:
    if names.names:
        return names.names[0].text
    return Malformed(names.why_none)
