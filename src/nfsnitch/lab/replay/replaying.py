"""The whole of a replay: what comes is put to one ruleset or two, and what they say is joined."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.owner import Owner
from nfsnitch.core.question_refusal import DNS_PORT
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.captures import Captures, Needs
from nfsnitch.lab.replay.case import Outcome, Put, Row
from nfsnitch.lab.replay.clients import Clients
from nfsnitch.lab.replay.deciding import Deciding, Told
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.owners import Owners
from nfsnitch.lab.replay.recorded_cases import RecordedCases

_MOST_STREAMS = 4_096
"""Connections to DNS servers of which the outcome is remembered."""


@dataclass(slots=True)
class _Open:
    """A flow of which not everybody has said what becomes of it."""

    put: Put
    names: Names
    outcomes: list[Outcome | None]


class Replay:
    """Puts everything to all rulesets, and hands on the rows that are whole."""

    def __init__(
        self, deciding: Sequence[Deciding], add_row: Callable[[Row], None], notes: Notes
    ) -> None:
        self._deciding, self._add_row, self._notes = deciding, add_row, notes
        self._open: dict[int, _Open] = {}
        self._streams: OrderedDict[int, _Open] = OrderedDict()
        self._numbers = count(1)
        self._last = Instant(0, 0)

    def captures(self, paths: Sequence[Path], clients: Clients, owners: Owners | None) -> None:
        """Replay captures, one after the other as if they were one.

        Raises:
            BadInputError: one of them cannot be read.

        """
        needs = Needs(
            lambda number, flow: any(each.wants(number, flow) for each in self._deciding),
            lambda flow: any(each.reads_data(flow) for each in self._deciding),
            any(each.ruleset.refuses_questions for each in self._deciding),
        )
        for each in Captures(clients, owners, self._notes, self._numbers).read(paths, needs):
            if isinstance(each, Put):
                self.put(each)
            else:
                for deciding in self._deciding:
                    deciding.hear(each)

    def records(self, path: Path) -> None:
        """Replay recorded decisions.

        Raises:
            BadInputError: the file cannot be read.

        """
        for put in RecordedCases(self._notes, self._numbers).read(path):
            self.put(put)

    def put(self, put: Put) -> None:
        """Have one packet decided."""
        self._last = put.event.now
        if put.is_first:
            self._open[put.number] = _Open(put, _names(put), [None] * len(self._deciding))
        told = [deciding.put(put) for deciding in self._deciding]
        self._join(told, put)

    def end(self) -> None:
        """Decide what is still open: nothing comes any more."""
        self._join([deciding.end(self._last) for deciding in self._deciding], None)

    def _join(self, told: list[list[Told]], put: Put | None) -> None:
        asked: dict[int, list[tuple[int, Told]]] = {}
        for at, each in enumerate(told):
            for one in each:
                if not self._note(at, one) and one.is_question:
                    asked.setdefault(one.number, []).append((at, one))
        for number, questions in asked.items():
            self._add_question(number, questions, put)

    def _note(self, at: int, told: Told) -> bool:
        """Take note of an outcome; False: that was known already."""
        found = self._open.get(told.number)
        if found is None or found.outcomes[at] is not None:
            return False
        found.outcomes[at] = told.outcome
        if told.names.names or not found.names.names:
            found.names = told.names
        if all(each is not None for each in found.outcomes):
            del self._open[told.number]
            self._finish(told.number, found)
        return True

    def _finish(self, number: int, found: _Open) -> None:
        flow = _flow(found.put)
        if not isinstance(flow, Unknown) and _is_stream_of_questions(flow):
            self._streams[number] = found
            if len(self._streams) > _MOST_STREAMS:
                self._streams.popitem(last=False)
        self._add_row(_row(found, found.outcomes, found.put.event.now.wall_ns))

    def _add_question(
        self, number: int, questions: list[tuple[int, Told]], put: Put | None
    ) -> None:
        """Add a row for a question that was refused on a connection that had been let out."""
        found = self._streams.get(number)
        if found is None or put is None:
            return
        outcomes = list(found.outcomes)
        for at, told in questions:
            outcomes[at] = told.outcome
        names = questions[0][1].names
        asked = _Open(found.put, names, outcomes)
        self._add_row(_row(asked, outcomes, put.event.now.wall_ns))


def _row(found: _Open, outcomes: Sequence[Outcome | None], wall_ns: int) -> Row:
    put = found.put
    said = tuple(each for each in outcomes if each is not None)
    return Row(wall_ns, _flow(put), _owner(put), found.names, put.before, said)


def _flow(put: Put) -> Flow | Unknown:
    event = put.event
    return event.flow if isinstance(event, FlowArrived) else Unknown(event.problem)


def _owner(put: Put) -> Owner:
    event = put.event
    return event.found.owner if isinstance(event, FlowArrived) else Unknown(event.problem)


def _names(put: Put) -> Names:
    event = put.event
    return event.found.names if isinstance(event, FlowArrived) else NOT_LOOKED_UP


def _is_stream_of_questions(flow: Flow) -> bool:
    return flow.proto == Protocol.TCP and flow.dport == DNS_PORT
