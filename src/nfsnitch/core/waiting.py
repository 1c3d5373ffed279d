"""The flows that wait: until somebody answers, or their program or their name is known.

While a flow waits, each thing that happens may decide it: it is ruled on again, as if it came now.
When its time is over it is decided all the same. What may wait is bounded; what is over a bound is
decided at once.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView

from nfsnitch.core.alarm import Alarm
from nfsnitch.core.answer import Answer
from nfsnitch.core.awaiting import Awaiting, identified
from nfsnitch.core.commands import Command, Count, GiveVerdict
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Action, Decision, Reason, Verdict
from nfsnitch.core.events import Answered, FlowArrived, Instant, ProgramIdentified, SocketClosed
from nfsnitch.core.first_data import (
    TCP_HOLD_NS,
    TOO_LATE,
    UDP_PATIENCE_NS,
    FirstData,
    Step,
)
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.holding import Held, HeldKey, Holding, key_of
from nfsnitch.core.inquiry import Inquiry
from nfsnitch.core.judge import WAITING, Judge
from nfsnitch.core.outcomes import Outcomes, count_told, decision_of
from nfsnitch.core.question import Topic, topic_of
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Outcome

IDENTIFY_TIMEOUT_NS = 15_000_000_000
"""How long a flow is held at most until it is known which binary its program is."""

_ACTIONS = {verdict: action for action, verdict in VERDICTS.items()}


class WaitingFlows:
    """Holds flows, and says what becomes of them. The engine alone asks it."""

    def __init__(
        self,
        judge: Judge,
        first_data: FirstData,
        outcomes: Outcomes,
        inquiry: Inquiry,
        alarm: Alarm,
    ) -> None:
        self._judge = judge
        self._first_data = first_data
        self._outcomes = outcomes
        self._inquiry = inquiry
        self._alarm = alarm
        self._held = Holding()
        self._unidentified: Awaiting[HeldKey] = Awaiting()
        self._stopped = False

    def __len__(self) -> int:
        """Return how many flows wait."""
        return len(self._held)

    def find(self, arrival: FlowArrived) -> Held | None:
        """Return the flow of a packet, if it waits."""
        return self._held.find(key_of(arrival)) if self._held.packets else None

    @property
    def sockets(self) -> KeysView[int | Unknown]:
        """Those of which a flow waits."""
        return self._held.sockets

    def hold(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        """Have a flow wait for what *ruling* wants, if there is room for one more."""
        if self._stopped:
            return self._not_held(arrival, ruling, Reason.STOPPING, Counter.STOPPING)
        topic = topic_of(arrival.flow, arrival.found)
        if self._is_full() or self._are_too_many(topic):
            return self._not_held(arrival, ruling, Reason.HELD_LIMIT, Counter.HELD_LIMIT)
        deadline_ns = arrival.now.monotonic_ns + self._patience_ns(ruling, arrival.flow)
        held = Held(arrival, ruling, deadline_ns, [arrival.packet_id])
        self._held.begin(held)
        self._unidentified.add(arrival.found, held.key)
        commands: list[Command] = [Count(Counter.HELD)]
        if ruling.reason not in WAITING:
            commands += self._inquiry.ask(held, topic)
        return [*commands, *self._alarm.by(held.deadline_ns)]

    def join(self, held: Held, arrival: FlowArrived) -> list[Command]:
        """Have one more packet wait with its flow."""
        most = self._judge.ruleset.settings.limits.packets_of_held_flow
        if len(held.packet_ids) >= most or self._is_full():
            # No record: the flow's own record will tell, and its first packet still waits.
            return [
                GiveVerdict(arrival.packet_id, Verdict.DROP),
                Count(Counter.HELD_LIMIT),
                Count(Counter.DROPPED),
            ]
        self._held.join(held, arrival.packet_id)
        commands: list[Command] = [Count(Counter.JOINED)]
        if held.ruling.reason is not Reason.NAME_AWAITED:
            return commands
        if not self._first_data.knows(arrival):
            # Pushed out by others: what comes now is the midst of something, and not its beginning.
            why = "there were too many flows to remember the beginning of its first data"
            commands += self._name_given_up(held, arrival.now, why)
        elif self._first_data.read(arrival) is Step.TOLD:
            commands += self._name_told(held, arrival.now)
        return commands

    def closed(self, event: SocketClosed) -> list[Command]:
        """Let go of the connections of a closed socket."""
        # A datagram is whole, and may still go out. A connection would be with nobody.
        commands: list[Command] = []
        for held in self._held.of_socket(event.sock_cookie):
            if held.arrival.flow.proto != Protocol.TCP:
                continue
            if held.ruling.reason is Reason.NAME_AWAITED:
                why = "its first data was not whole when its program closed it"
                commands += self._name_given_up(held, event.now, why)
                if self._held.find(held.key) is None:
                    continue
            commands += self._let_go(held, Outcome.GONE)
            decision = Decision(Verdict.DROP, Action.ASK, Reason.GONE, held.ruling.rule)
            commands += self._outcomes.decided(decision, held.arrival, held.packet_ids, event.now)
            commands.append(Count(Counter.GONE))
        return commands

    def answered(self, event: Answered) -> list[Command]:
        """Let go of the flows that waited for an answer."""
        answer, commands = event.answer, list[Command]()
        outcome = Outcome.ANSWERED if answer.action else Outcome.DISMISSED
        for held in self._inquiry.waiting_for(event.question):
            commands += self._let_go(held, outcome, answer)
            decision = self._decision_by(answer, held)
            self._settle(held, decision)
            commands += self._outcomes.decided(decision, held.arrival, held.packet_ids, event.now)
            commands.append(Count(Counter.ANSWERED if answer.action else Counter.DISMISSED))
        return commands

    def identified(self, event: ProgramIdentified) -> list[Command]:
        """Rule again on what waited until it is known which binary a program is."""
        commands: list[Command] = []
        for key in self._unidentified.done(event.ticket):
            held = self._held.find(key)
            if held is not None:
                found = identified(held.arrival.found, event.ticket, event.identity)
                held.arrival = held.arrival._replace(found=found)
                commands += self._rule_again(held, event.now, is_known_better=True)
        return commands

    def rule_again(self, now: Instant) -> list[Command]:
        """Rule again on all that waits: the rules or the mode are others."""
        commands: list[Command] = []
        for held in self._held:
            commands += self._rule_again(held, now)
        return commands

    def time_passed(self, now: Instant) -> list[Command]:
        """Let go of those whose time is over."""
        due = self._held.due(now.monotonic_ns)
        return self._release(due, Reason.UNANSWERED, Counter.UNANSWERED, now)

    def next_deadline_ns(self) -> int | None:
        """Return when the next one's time is over (monotonic); None: nothing waits."""
        return self._held.next_deadline_ns()

    def stop(self, now: Instant) -> list[Command]:
        """Let go of all, and hold nothing from here on."""
        self._stopped = True
        return self._release(self._held, Reason.STOPPING, Counter.STOPPING, now)

    def _are_too_many(self, topic: Topic) -> bool:
        limits = self._judge.ruleset.settings.limits
        of_program = self._inquiry.flows_of(topic)
        return len(self._held) >= limits.held_flows or of_program >= limits.held_flows_of_program

    def _is_full(self) -> bool:
        return self._held.packets >= self._judge.ruleset.settings.held_packets

    def _patience_ns(self, ruling: Ruling, flow: Flow) -> int:
        if ruling.reason is Reason.NAME_AWAITED:
            return TCP_HOLD_NS if flow.proto == Protocol.TCP else UDP_PATIENCE_NS
        is_asked = ruling.reason is not Reason.UNIDENTIFIED
        return self._judge.ruleset.ask_timeout_ns if is_asked else IDENTIFY_TIMEOUT_NS

    def _not_held(
        self, arrival: FlowArrived, ruling: Ruling, reason: Reason, counter: Counter
    ) -> list[Command]:
        decision = self._unanswered(ruling, reason)
        commands = self._outcomes.decided(decision, arrival, (arrival.packet_id,), arrival.now)
        return [*commands, Count(counter)]

    def _rule_again(
        self, held: Held, now: Instant, *, is_known_better: bool = False
    ) -> list[Command]:
        before = held.ruling
        held.arrival = self._first_data.applied(held.arrival)
        held.ruling = self._judge.ruling_on(held.arrival, now)
        if held.ruling.reason is Reason.NAME_AWAITED and before.reason is not held.ruling.reason:
            step = self._first_data.read(held.arrival)
            if step is not Step.INCOMPLETE:
                return self._named_now(held, step, now)
        if held.ruling.action is not Action.ASK:
            return self._ruled(held, now)
        if held.ruling == before and not is_known_better:
            return []
        if held.ruling.reason is before.reason or before.reason not in WAITING:
            return self._inquiry.changed(held)
        # What was waited for is known, and now somebody has to be asked, or something else awaited.
        held.deadline_ns = now.monotonic_ns + self._patience_ns(held.ruling, held.arrival.flow)
        if held.ruling.reason in WAITING:
            return self._alarm.by(held.deadline_ns)
        topic = topic_of(held.arrival.flow, held.arrival.found)
        return self._inquiry.ask(held, topic) + self._alarm.by(held.deadline_ns)

    def _ruled(self, held: Held, now: Instant) -> list[Command]:
        ended = self._let_go(held, Outcome.RULES)
        if held.ruling.reason is Reason.SILENT:
            ended += self._inquiry.silence(held.arrival, held.ruling)
        decision = decision_of(held.ruling)
        return ended + self._outcomes.decided(decision, held.arrival, held.packet_ids, now)

    def _named_now(self, held: Held, step: Step, now: Instant) -> list[Command]:
        """Return what becomes of a flow whose name has come to be needed while it was held."""
        if step is Step.TOLD:
            return self._name_told(held, now)
        ended = self._let_go(held, Outcome.RULES)
        return ended + self._outcomes.let_out(held.arrival, held.ruling, held.packet_ids)

    def _name_told(self, held: Held, now: Instant) -> list[Command]:
        held.arrival = self._first_data.applied(held.arrival)
        return [count_told(held.arrival), *self._rule_again(held, now)]

    def _name_not_whole(self, held: Held, now: Instant) -> list[Command]:
        """Give up, or make room for the rest: what is dropped here is sent again."""
        is_tcp = held.arrival.flow.proto == Protocol.TCP
        if not is_tcp or self._first_data.is_late(held.arrival, now.monotonic_ns):
            return self._name_given_up(held, now, TOO_LATE)
        dropped = [GiveVerdict(each, Verdict.DROP) for each in held.packet_ids]
        counts = [Count(each, len(dropped)) for each in (Counter.DROPPED, Counter.NAMES_IN_PIECES)]
        return [*self._let_go(held, Outcome.RULES), *dropped, *counts]

    def _name_given_up(self, held: Held, now: Instant, why: str) -> list[Command]:
        self._first_data.give_up(held.arrival, why)
        return self._name_told(held, now)

    def _decision_by(self, answer: Answer, held: Held) -> Decision:
        if answer.action is None:
            return self._unanswered(held.ruling, Reason.DISMISSED)
        rule = answer.rule or held.ruling.rule
        return Decision(VERDICTS[answer.action], Action.ASK, Reason.ANSWERED, rule)

    def _settle(self, held: Held, decision: Decision) -> None:
        """Have the flow's further packets meet what was answered."""
        ruling = Ruling(_ACTIONS[decision.verdict], decision.reason, decision.rule)
        self._judge.settled.note(held.arrival.flow, held.arrival.found, ruling)

    def _release(
        self, due: Iterable[Held], reason: Reason, counter: Counter, now: Instant
    ) -> list[Command]:
        outcome = Outcome.STOPPING if reason is Reason.STOPPING else Outcome.UNANSWERED
        commands: list[Command] = []
        for held in due:
            if held.ruling.reason is Reason.NAME_AWAITED and reason is Reason.UNANSWERED:
                commands += self._name_not_whole(held, now)
                continue
            commands += self._let_go(held, outcome)
            decision = self._unanswered(held.ruling, reason)
            commands += self._outcomes.decided(decision, held.arrival, held.packet_ids, now)
            if decision.reason is reason:
                commands.append(Count(counter))
        return commands

    def _unanswered(self, ruling: Ruling, reason: Reason) -> Decision:
        if ruling.reason is Reason.UNIDENTIFIED:
            return Decision(Verdict.DROP, Action.DENY, Reason.UNIDENTIFIED, ruling.rule)
        if ruling.reason is Reason.NAME_AWAITED:
            return Decision(Verdict.DROP, Action.ASK, reason, ruling.rule)
        verdict = VERDICTS[self._judge.ruleset.unanswered]
        return Decision(verdict, Action.ASK, reason, ruling.rule)

    def _let_go(self, held: Held, outcome: Outcome, answer: Answer | None = None) -> list[Command]:
        self._held.end(held)
        return self._inquiry.leave(held, outcome, answer)
