"""The daemon's engine, fed with what is replayed.

Nobody is there to answer: the engine is told to decide in silence, and where it does, the outcome
is that somebody would have been asked. Its time is that of what is replayed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from nfsnitch.adapters.quic_cipher import QuicCipher
from nfsnitch.core.commands import Command, Count, GiveVerdict, WakeAt, WriteRecord
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    FlowArrived,
    Instant,
    ModeSet,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.first_data import CLOSED_KEPT_NS, TCP_PATIENCE_NS
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.name_sample import DnsPacket
from nfsnitch.core.own import Fetching
from nfsnitch.core.owner import Process
from nfsnitch.core.packet import Malformed
from nfsnitch.core.question_refusal import DNS_PORT, Readers
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Loopback
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.captures import TO_BE_HEARD
from nfsnitch.lab.replay.case import SKIPPED, UNDECIDED, NumberedFlow, Outcome, Put
from nfsnitch.lab.replay.names import HeardNames
from nfsnitch.naming.messages import read_question
from nfsnitch.protocol.words import Mode

NETNS = 0
"""No namespace has this number: what is replayed is in none."""
_MOST_OPEN = 65_536
"""Flows that have not been decided yet."""
_MOST_REFUSED = 1_024
_SKIP = Outcome(SKIPPED, "loopback", None)
_LOST = Outcome(UNDECIDED, "its first data was not whole", None)


class Told(NamedTuple):
    """What has become of a flow."""

    number: int
    outcome: Outcome
    names: Names
    """By which it was decided."""
    is_question: bool = False
    """It is a DNS question of the flow that was refused."""


class Deciding:
    """One ruleset, and all that it takes to go by it."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self._read = _QuestionReader()
        self._engine = Engine(ruleset, NETNS, Readers(QuicCipher(), self._read))
        self._engine.receive(ModeSet(Instant(0, 0), Mode.DENY_SILENTLY, None))
        self._heard = HeardNames(ruleset.settings)
        self._open: OrderedDict[int, None] = OrderedDict()
        self._wake_ns: int | None = None
        self._refused: OrderedDict[object, Told] = OrderedDict()
        """What became of questions that were refused, which are not recorded again at once."""

    def wants(self, number: int, flow: Flow) -> bool:
        """Whether further packets of a flow may decide it, or have to be judged themselves."""
        if number in self._open:
            return True
        return self.ruleset.refuses_questions and flow.dport == DNS_PORT

    def reads_data(self, flow: Flow) -> bool:
        """Whether rules may want to know what a packet of *flow* carries."""
        return self._engine.reads_data(flow)

    def hear(self, sample: DnsPacket) -> None:
        """Learn names."""
        self._heard.take(sample)

    def put(self, put: Put) -> list[Told]:
        """Return what is decided by a packet, and by the time that has passed until it came."""
        now = put.event.now
        told = self._time_passed(now)
        event = put.event
        if not isinstance(event, FlowArrived):
            return told + self._carried_out(self._engine.receive(event), put)
        if not put.is_first and not self.wants(put.number, event.flow):
            return told
        if put.is_local and self._skips(event.flow):
            return [*told, Told(put.number, _SKIP, NOT_LOOKED_UP)] if put.is_first else told
        if event.found.names is TO_BE_HEARD:
            names = self._heard.of(event.flow, now.monotonic_ns)
            of_rivals = (names,) * len(event.found.rivals)
            found = event.found._replace(names=names, names_of_rivals=of_rivals)
            event = event._replace(found=found)
        told += self._decided(event, put)
        return told + self._closed(event) if put.closes else told

    def end(self, now: Instant) -> list[Told]:
        """Decide what is left, as if nothing came any more after *now*."""
        late = now._replace(monotonic_ns=now.monotonic_ns + 2 * TCP_PATIENCE_NS)
        told = self._time_passed(late)
        told += self._carried_out(self._engine.receive(Stopping(late)), None)
        told += [Told(number, _LOST, NOT_LOOKED_UP) for number in self._open]
        self._open.clear()
        return told

    def _decided(self, event: FlowArrived, put: Put) -> list[Told]:
        own = self._engine.own
        own.fetching = _fetching(event) if put.is_own else None
        self._read.recorded = put.question
        try:
            return self._carried_out(self._engine.receive(event), put)
        finally:
            own.fetching = self._read.recorded = None

    def _skips(self, flow: Flow) -> bool:
        is_asked = self.ruleset.refuses_questions and flow.dport == DNS_PORT
        return self.ruleset.settings.loopback is Loopback.SKIP and not is_asked

    def _closed(self, event: FlowArrived) -> list[Told]:
        cookie = event.found.sock_cookie
        if isinstance(cookie, Unknown):
            return []
        commands = self._engine.receive(SocketClosed(event.now, cookie))
        over_ns = event.now.monotonic_ns + CLOSED_KEPT_NS
        commands += self._engine.receive(TimePassed(event.now._replace(monotonic_ns=over_ns)))
        return self._carried_out(commands, None)

    def _time_passed(self, now: Instant) -> list[Told]:
        told: list[Told] = []
        while self._wake_ns is not None and self._wake_ns <= now.monotonic_ns:
            at, self._wake_ns = now._replace(monotonic_ns=self._wake_ns), None
            told += self._carried_out(self._engine.receive(TimePassed(at)), None)
        return told

    def _carried_out(self, commands: list[Command], put: Put | None) -> list[Told]:
        told: list[Told] = []
        is_settled = False
        for command in commands:
            if isinstance(command, WriteRecord):
                told.append(self._told(command.record, put))
            elif isinstance(command, WakeAt):
                self._wake_ns = command.monotonic_ns
            elif isinstance(command, GiveVerdict) and command.verdict is not Verdict.PEEK:
                is_settled = put is not None and command.packet_id == put.event.packet_id
        if put is None or any(each.number == put.number for each in told):
            return told
        if not is_settled or put.number in self._open:
            return told + self._left_open(put)
        if not put.is_first:
            return told
        return [*told, self._unrecorded(put, commands)]

    def _told(self, record: Record, put: Put | None) -> Told:
        decision, flow = record.decision, record.flow
        number = flow.number if isinstance(flow, NumberedFlow) else 0
        if not number and put is not None:
            number = put.number
        self._open.pop(number, None)
        is_question = decision.reason is Reason.QUESTION
        told = Told(number, _outcome(record), record.names, is_question)
        if is_question and isinstance(flow, Flow):
            self._refused[self._key(record.owner, flow)] = told
            if len(self._refused) > _MOST_REFUSED:
                self._refused.popitem(last=False)
        return told

    def _unrecorded(self, put: Put, commands: list[Command]) -> Told:
        """Return what became of a packet of which there is no record."""
        event = put.event
        if Count(Counter.QUESTIONS_LOCAL) in commands or not isinstance(event, FlowArrived):
            return Told(put.number, _SKIP, NOT_LOOKED_UP)
        told = self._refused.get(self._key(event.found.owner, event.flow))
        if told is None:
            return Told(put.number, _LOST, NOT_LOOKED_UP)
        return told._replace(number=put.number)

    def _key(self, owner: object, flow: Flow) -> object:
        return owner, flow.daddr, flow.proto, self._read.last

    def _left_open(self, put: Put) -> list[Told]:
        """Take note of a flow whose further packets decide it."""
        self._open[put.number] = None
        if len(self._open) <= _MOST_OPEN:
            return []
        number, _ = self._open.popitem(last=False)
        return [Told(number, _LOST, NOT_LOOKED_UP)]


class _QuestionReader:
    """Reads the names that are asked for, and knows the last one."""

    def __init__(self) -> None:
        self.last: str | None = None
        """None: it could not be read."""
        self.recorded: str | Malformed | None = None
        """What was read before, where that is known, and not what it was read from."""

    def __call__(self, message: bytes) -> str | Malformed:
        host = self.recorded
        if host is None:
            question = read_question(message)
            host = question if isinstance(question, Malformed) else question.host
        self.last = None if isinstance(host, Malformed) else host
        return host


def _outcome(record: Record) -> Outcome:
    decision = record.decision
    action = decision.action
    if decision.reason is Reason.SILENT:
        action = Action.ASK
    elif decision.reason is Reason.NAME_AWAITED:
        action = Action.ALLOW
    entry = None if decision.entry is None else decision.entry.text
    reason = Reason.RULE if decision.reason is Reason.SILENT and decision.rule else decision.reason
    if decision.reason is Reason.SILENT and not decision.rule:
        is_unknown = isinstance(record.owner, Unknown)
        reason = Reason.UNATTRIBUTED if is_unknown else Reason.DEFAULT
    return Outcome(action.value, reason.value, decision.rule, entry)


def _fetching(event: FlowArrived) -> Fetching | None:
    owner, port = event.found.owner, event.flow.dport
    if not isinstance(owner, Process) or isinstance(port, Unknown):
        return None
    return Fetching(owner.pid, owner.start_time_ns, port)
