"""Rules at the question: a name that a rule refuses is not asked for either, if the rule says so.

While any rule does, each packet to port 53 comes here, whatever conntrack thinks of it. One whose
question cannot be read is refused: a lenient server might read it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nfsnitch.core.asked_datagram import messages_of
from nfsnitch.core.asked_stream import AskedStreams
from nfsnitch.core.case import Case
from nfsnitch.core.commands import Command, Count, DenyName, GiveVerdict
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.judge import Judge
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.outcomes import reset_of
from nfsnitch.core.packet import Malformed
from nfsnitch.core.recording import Recording
from nfsnitch.core.rule import AtQuestion, Rule
from nfsnitch.core.settings import Loopback

if TYPE_CHECKING:
    from nfsnitch.core.quic import Cipher

DNS_PORT = 53
_RECORD_AGAIN_NS = 60_000_000_000
_MOST_RECORDED = 1_024

ReadQuestion = Callable[[bytes], str | Malformed]
"""Returns the name that a DNS message asks for, as in `core.name.Name.text`."""


class Readers(NamedTuple):
    """What it takes to read what packets carry."""

    cipher: Cipher | None = None
    """None: QUIC is not read."""
    read_question: ReadQuestion | None = None
    """None: questions are not read, and none is refused."""


class QuestionRefusal:
    """Refuses questions, and says so once a minute for each name and program."""

    def __init__(
        self, judge: Judge, recording: Recording, read_question: ReadQuestion | None
    ) -> None:
        """Go by the rules that *judge* has at the moment."""
        self._judge, self._recording = judge, recording
        self._read = read_question
        self._streams = AskedStreams()
        self._recorded: OrderedDict[object, int] = OrderedDict()

    def received(self, arrival: FlowArrived) -> list[Command] | None:
        """Return what becomes of a packet; None: it is judged as any other."""
        read, is_asked = self._read, arrival.flow.dport == DNS_PORT
        if not self._judge.ruleset.refuses_questions or read is None or not is_asked:
            return None
        if self._judge.own.sends(arrival.flow, arrival.found):
            return None
        refused = self._refused(arrival, read)
        if refused is not None:
            return refused
        self._streams.passed(arrival)
        if self._stays_here(arrival.flow):
            verdict = GiveVerdict(arrival.packet_id, Verdict.ACCEPT)
            return [verdict, Count(Counter.ACCEPTED), Count(Counter.QUESTIONS_LOCAL)]
        return None

    def _refused(self, arrival: FlowArrived, read: ReadQuestion) -> list[Command] | None:
        messages = self._messages(arrival)
        if isinstance(messages, Malformed):
            return self._malformed(arrival, messages)
        for number, message in enumerate(messages):
            name = read(message)
            if isinstance(name, Malformed):
                if number and arrival.flow.proto == Protocol.UDP:
                    continue  # it only looked as if there began another one
                return self._malformed(arrival, name)
            refused = self._refused_name(arrival, name, message)
            if refused is not None:
                return refused
        return None

    def _messages(self, arrival: FlowArrived) -> list[bytes] | Malformed:
        segment = arrival.segment
        if segment is None:
            return []
        return messages_of(segment) if segment.tcp is None else self._streams.messages(arrival)

    def _refused_name(
        self, arrival: FlowArrived, name: str, message: bytes
    ) -> list[Command] | None:
        names = Names((Name(name, NameSource.DNS, own=True, known_ns=arrival.now.monotonic_ns),))
        rule = self._rule_on(arrival, names)
        if rule is None:
            return None
        is_udp = arrival.flow.proto == Protocol.UDP
        is_aloud = rule.dns is AtQuestion.REFUSE
        verdict = Verdict.DROP if is_udp or not is_aloud else Verdict.REJECT
        decision = Decision(verdict, rule.action, Reason.QUESTION, rule.name)
        answer: list[Command] = []
        if is_udp and is_aloud:
            answer.append(DenyName(arrival.flow, message))
        return [*self._refusal(arrival, decision, names, Counter.QUESTIONS_REFUSED), *answer]

    def _rule_on(self, arrival: FlowArrived, names: Names) -> Rule | None:
        found = arrival.found
        for owner in (found.owner, *found.rivals):
            case = Case(arrival.flow, owner, arrival.iface, arrival.now, found.iface_in, names)
            rule = self._judge.ruleset.rule_on_question(case)
            if rule is not None:
                return rule
        return None

    def _malformed(self, arrival: FlowArrived, problem: Malformed) -> list[Command]:
        is_udp = arrival.flow.proto == Protocol.UDP
        verdict = Verdict.DROP if is_udp else Verdict.REJECT
        names = Names(why_none=f"its question could not be read: {problem.problem}")
        decision = Decision(verdict, Action.DENY, Reason.QUESTION, None)
        return self._refusal(arrival, decision, names, Counter.QUESTIONS_MALFORMED)

    def _refusal(
        self, arrival: FlowArrived, decision: Decision, names: Names, counter: Counter
    ) -> list[Command]:
        is_dropped = decision.verdict is Verdict.DROP
        commands: list[Command] = [
            GiveVerdict(arrival.packet_id, decision.verdict),
            *reset_of(decision, arrival),
            Count(counter),
            Count(Counter.DROPPED if is_dropped else Counter.REJECTED),
        ]
        if not self._is_new(arrival, decision, names):
            return [*commands, Count(Counter.REPEATED)]
        found = arrival.found._replace(names=names)
        record = self._recording.of(
            arrival.now, decision, arrival.flow, found, arrival.iface, packets=1
        )
        return [*commands, record]

    def _is_new(self, arrival: FlowArrived, decision: Decision, names: Names) -> bool:
        """Whether this was not recorded just now."""
        texts = tuple(each.text for each in names.names)
        key = (arrival.found.owner, arrival.flow.daddr, decision, texts)
        now_ns = arrival.now.monotonic_ns
        if now_ns < self._recorded.get(key, now_ns - _RECORD_AGAIN_NS) + _RECORD_AGAIN_NS:
            return False
        self._recorded[key] = now_ns
        self._recorded.move_to_end(key)
        if len(self._recorded) > _MOST_RECORDED:
            self._recorded.popitem(last=False)
        return True

    def _stays_here(self, flow: Flow) -> bool:
        """Whether a packet would not have been looked at, if it were not for its question."""
        if self._judge.ruleset.settings.loopback is not Loopback.SKIP:
            return False
        return flow.daddr == flow.saddr or (_is_loopback(flow.saddr) and _is_loopback(flow.daddr))


def _is_loopback(address: bytes) -> bool:
    """Whether it is of 127.0.0.0/8, or ::1, which no packet from or to another machine has."""
    return address[:1] == b"\x7f" if len(address) == 4 else address == bytes(15) + b"\1"  # noqa: PLR2004
