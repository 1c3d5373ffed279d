"""The engine: events in, commands out. It owns the flows that are held, and nothing else does.

Theory of operation
-------------------
Each packet enters once, with `FlowArrived`, `MalformedArrived` or `PacketFailed`, and leaves once,
with `GiveVerdict`; in between it is either being decided (inside one call of `receive`) or held:

    arrives ──► a rule allows, denies, rejects ──────────────────────────────► verdict
       │
       └──────► ask ─► held ─┬─ its time is over / the daemon stops ──────────► verdict
                        ▲    │
    further packets of  └────┘  (a SYN sent again, a repeated datagram: they join)
    a held flow

A flow whose rule depends on which binary its program is, is held while that is being found out. It
is decided when that is known (`ProgramIdentified`), or refused when it takes too long.

A flow that was accepted is judged again with each packet that is queued, until the same socket has
sent so many that it seems to go on: then the kernel is told to let it pass (`TrustFlow`), and to
stop doing so when the socket is closed (`core.memory` says why).

When the rules change, what is held is decided anew, what was decided is forgotten, and each flow
under way is reviewed (`FlowReviewed`): where the new rules refuse it, it is cut; where they do not
plainly allow it, trust in it ends, so that its next packet is judged.

What may be held is bounded in flows, in packets of one flow and in packets of all flows together,
so that those which wait leave room in the kernel's queue for the others. A flow over a bound gets
the `unanswered` action at once, a further packet of a held flow is dropped; both are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nfsnitch.core.answer import Answer
from nfsnitch.core.awaiting import Awaiting, identified
from nfsnitch.core.commands import (
    Command,
    Count,
    DistrustFlow,
    EndQuestion,
    GiveVerdict,
    ShowQuestion,
    TellMode,
    TrustFlow,
    WakeAt,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Action, Decision, Reason, Verdict
from nfsnitch.core.events import (
    Answered,
    Event,
    FlowArrived,
    FlowReviewed,
    Instant,
    MalformedArrived,
    ModeSet,
    PacketFailed,
    ProgramIdentified,
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.flow_review import FlowReviews
from nfsnitch.core.holding import Held, HeldKey, Holding, key_of
from nfsnitch.core.judge import Judge
from nfsnitch.core.memory import FlowMemory
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.question import Question, Questions, Topic, topic_of
from nfsnitch.core.recording import Recording
from nfsnitch.core.rule import Ruleset, Ruling
from nfsnitch.core.silenced import SilencedList
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Mode, Outcome

_VERDICT_COUNTERS = {
    Verdict.ACCEPT: Counter.ACCEPTED,
    Verdict.DROP: Counter.DROPPED,
    Verdict.REJECT: Counter.REJECTED,
}


_ACTIONS = {verdict: action for action, verdict in VERDICTS.items()}

IDENTIFY_TIMEOUT_NS = 15_000_000_000
"""How long a flow is held at most until it is known which binary its program is."""


def _decision(ruling: Ruling) -> Decision:
    return Decision(VERDICTS[ruling.action], ruling.action, ruling.reason, ruling.rule)


class Engine:
    """Decides flows by the rules and holds those that must be asked about."""

    def __init__(self, ruleset: Ruleset, netns: int) -> None:
        """Start with *ruleset*, for packets seen in network namespace *netns* (inode number)."""
        self._judge = Judge(ruleset)
        self._recording = Recording(netns)
        self._held = Holding()
        self._questions = Questions()
        self._silenced = SilencedList()
        self._unidentified: Awaiting[HeldKey] = Awaiting()
        self._wake_ns: int | None = None
        self._stopped = False
        self._memory = FlowMemory(ruleset.settings.limits)
        self._reviews = FlowReviews(self._judge, self._memory, self._recording)
        self._handlers: dict[type[Event], Callable[[Any], list[Command]]] = {
            FlowArrived: self._flow_arrived,
            MalformedArrived: self._malformed_arrived,
            PacketFailed: self._packet_failed,
            SocketClosed: self._socket_closed,
            ProgramIdentified: self._program_identified,
            TimePassed: self._time_passed,
            Answered: self._answered,
            ModeSet: self._mode_set,
            RulesetChanged: self._ruleset_changed,
            FlowReviewed: self._reviews.reviewed,
            Stopping: self._stopping,
        }

    @property
    def ruleset(self) -> Ruleset:
        """The rules that decide now."""
        return self._judge.ruleset

    @property
    def generation(self) -> int:
        """Which rules are in force: 1 at the start, one more with each change."""
        return self._recording.generation

    @property
    def held_flows(self) -> int:
        """How many flows wait for an answer."""
        return len(self._held)

    @property
    def questions(self) -> list[Question]:
        """What is asked now, the earliest first."""
        return self._questions.asked()

    @property
    def silenced(self) -> list[Question]:
        """What would have been asked in a silent mode, the latest last."""
        return self._silenced.entries()

    def question(self, number: int) -> Question | None:
        """Return a question that is asked, or would have been; None if it has ended."""
        return self._questions.find(number) or self._silenced.find(number)

    @property
    def mode(self) -> tuple[Mode, int | None]:
        """The mode, and when it is `Mode.ASK` again (monotonic, ns; None: it stays)."""
        return self._judge.mode.mode, self._judge.mode.until_ns

    @property
    def asks_script(self) -> bool:
        """Whether a rule wants to know which script an interpreter runs."""
        return self.ruleset.asks_script

    def receive(self, event: Event) -> list[Command]:
        """Return what is to be done about *event*, in this order."""
        return self._handlers[type(event)](event)

    def _flow_arrived(self, arrival: FlowArrived) -> list[Command]:
        held = self._held.find(key_of(arrival))
        if held is not None:
            return self._join(held, arrival)
        owner = arrival.found.owner
        ruling = self._ruling_on_arrival(arrival, arrival.now)
        counts: list[Command] = []
        if isinstance(owner, Unknown):
            counts.append(Count(Counter.UNATTRIBUTED))
        if ruling.action is Action.ASK:
            return counts + self._hold(arrival, ruling)
        decided = self._decided(_decision(ruling), arrival, (arrival.packet_id,), arrival.now)
        if ruling.reason is Reason.SILENT and Count(Counter.REPEATED) not in decided:
            counts += self._silence(arrival, ruling)
        return decided + counts

    def _ruling_on_arrival(self, arrival: FlowArrived, now: Instant) -> Ruling:
        return self._judge.ruling(arrival.flow, arrival.found, arrival.iface, now)

    def _silence(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        topic = topic_of(arrival.flow, arrival.found)
        number = 0 if self._silenced.has(topic) else self._questions.next_number()
        had_room = self._silenced.note(topic, arrival, ruling, number)
        return [Count(Counter.SILENCED), *([] if had_room else [Count(Counter.SILENCED_FORGOTTEN)])]

    def _hold(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        if self._stopped:
            return self._not_held(arrival, ruling, Reason.STOPPING, Counter.STOPPING)
        topic = topic_of(arrival.flow, arrival.found)
        if self._is_full() or self._are_too_many(topic):
            return self._not_held(arrival, ruling, Reason.HELD_LIMIT, Counter.HELD_LIMIT)
        deadline_ns = arrival.now.monotonic_ns + self._patience_ns(ruling)
        held = Held(arrival, ruling, deadline_ns, [arrival.packet_id])
        self._held.begin(held)
        self._unidentified.add(arrival.found, held.key)
        commands: list[Command] = [Count(Counter.HELD)]
        if ruling.reason is not Reason.UNIDENTIFIED:
            commands += self._ask(held, topic)
        return [*commands, *self._wake_by(held.deadline_ns)]

    def _ask(self, held: Held, topic: Topic) -> list[Command]:
        question = self._questions.ask(held, topic)
        asked = [Count(Counter.ASKED)] if question.flows == 1 else []
        return [ShowQuestion(question), *asked]

    def _patience_ns(self, ruling: Ruling) -> int:
        is_asked = ruling.reason is not Reason.UNIDENTIFIED
        return self.ruleset.ask_timeout_ns if is_asked else IDENTIFY_TIMEOUT_NS

    def _not_held(
        self, arrival: FlowArrived, ruling: Ruling, reason: Reason, counter: Counter
    ) -> list[Command]:
        decision = self._unanswered(ruling, reason)
        commands = self._decided(decision, arrival, (arrival.packet_id,), arrival.now)
        return [*commands, Count(counter)]

    def _join(self, held: Held, arrival: FlowArrived) -> list[Command]:
        most = self.ruleset.settings.limits.packets_of_held_flow
        if len(held.packet_ids) >= most or self._is_full():
            # No record: the flow's own record will tell, and its first packet still waits.
            return [
                GiveVerdict(arrival.packet_id, Verdict.DROP),
                Count(Counter.HELD_LIMIT),
                Count(Counter.DROPPED),
            ]
        self._held.join(held, arrival.packet_id)
        return [Count(Counter.JOINED)]

    def _are_too_many(self, topic: Topic) -> bool:
        limits = self.ruleset.settings.limits
        of_program = self._questions.flows_of(topic.senders)
        return len(self._held) >= limits.held_flows or of_program >= limits.held_flows_of_program

    def _is_full(self) -> bool:
        return self._held.packets >= self.ruleset.settings.held_packets

    def _malformed_arrived(self, event: MalformedArrived) -> list[Command]:
        return self._refused(event, Reason.MALFORMED, Counter.MALFORMED)

    def _packet_failed(self, event: PacketFailed) -> list[Command]:
        return self._refused(event, Reason.ERROR, Counter.ERRORS)

    def _socket_closed(self, event: SocketClosed) -> list[Command]:
        # A datagram is whole, and may still go out. A connection would be with nobody.
        self._judge.settled.closed(event.sock_cookie)
        commands: list[Command] = []
        for held in self._held.of_socket(event.sock_cookie):
            if held.arrival.flow.proto != Protocol.TCP:
                continue
            commands += self._let_go(held, Outcome.GONE)
            decision = Decision(Verdict.DROP, Action.ASK, Reason.GONE, held.ruling.rule)
            commands += self._decided(decision, held.arrival, held.packet_ids, event.now)
            commands.append(Count(Counter.GONE))
        return commands + [DistrustFlow(flow) for flow in self._memory.closed(event.sock_cookie)]

    def _answered(self, event: Answered) -> list[Command]:
        if self._silenced.forget(event.question):
            return []
        answer, commands = event.answer, list[Command]()
        for held in self._questions.waiting_for(event.question):
            commands += self._let_go_answered(held, answer)
            decision = self._decision_by(answer, held)
            self._settle(held, decision)
            commands += self._decided(decision, held.arrival, held.packet_ids, event.now)
            commands.append(Count(Counter.ANSWERED if answer.action else Counter.DISMISSED))
        return commands or [Count(Counter.ANSWERED_LATE)]

    def _decision_by(self, answer: Answer, held: Held) -> Decision:
        if answer.action is None:
            return self._unanswered(held.ruling, Reason.DISMISSED)
        rule = answer.rule or held.ruling.rule
        return Decision(VERDICTS[answer.action], Action.ASK, Reason.ANSWERED, rule)

    def _settle(self, held: Held, decision: Decision) -> None:
        """Have the flow's further packets meet what was answered."""
        ruling = Ruling(_ACTIONS[decision.verdict], decision.reason, decision.rule)
        self._judge.settled.note(held.arrival.flow, held.arrival.found, ruling)

    def _let_go_answered(self, held: Held, answer: Answer) -> list[Command]:
        self._held.end(held)
        number = self._questions.leave(held)
        if number is None:
            return []
        outcome = Outcome.ANSWERED if answer.action else Outcome.DISMISSED
        return [EndQuestion(number, outcome, answer)]

    def _mode_set(self, event: ModeSet) -> list[Command]:
        return self._set_mode(event.mode, event.until_ns, event.now)

    def _set_mode(self, mode: Mode, until_ns: int | None, now: Instant) -> list[Command]:
        self._judge.mode.set(mode, until_ns)
        commands: list[Command] = [TellMode(*self.mode)]
        for held in self._held:
            commands += self._rule_again(held, now)
        return commands + ([] if self.mode[1] is None else self._wake_by(self.mode[1]))

    def _ruleset_changed(self, event: RulesetChanged) -> list[Command]:
        self._judge.use(event.ruleset)
        self._recording.generation = event.generation
        self._memory.limits = event.ruleset.settings.limits
        self._memory.forget_decisions()
        commands: list[Command] = []
        for held in self._held:
            commands += self._rule_again(held, event.now)
        return commands

    def _rule_again(
        self, held: Held, now: Instant, *, is_known_better: bool = False
    ) -> list[Command]:
        before, held.ruling = held.ruling, self._ruling_on_arrival(held.arrival, now)
        if held.ruling.action is not Action.ASK:
            ended = self._let_go(held, Outcome.RULES)
            if held.ruling.reason is Reason.SILENT:
                ended += self._silence(held.arrival, held.ruling)
            decision = _decision(held.ruling)
            return ended + self._decided(decision, held.arrival, held.packet_ids, now)
        if held.ruling == before and not is_known_better:
            return []
        if held.ruling.reason is before.reason or before.reason is not Reason.UNIDENTIFIED:
            question = self._questions.changed(held)
            return [ShowQuestion(question)] if question else []
        # What was waited for is known, and now somebody has to be asked.
        held.deadline_ns = now.monotonic_ns + self._patience_ns(held.ruling)
        topic = topic_of(held.arrival.flow, held.arrival.found)
        return self._ask(held, topic) + self._wake_by(held.deadline_ns)

    def _program_identified(self, event: ProgramIdentified) -> list[Command]:
        commands: list[Command] = []
        for key in self._unidentified.done(event.ticket):
            held = self._held.find(key)
            if held is not None:
                found = identified(held.arrival.found, event.ticket, event.identity)
                held.arrival = held.arrival._replace(found=found)
                commands += self._rule_again(held, event.now, is_known_better=True)
        return commands + self._reviews.identified(event)

    def _refused(
        self, event: MalformedArrived | PacketFailed, reason: Reason, counter: Counter
    ) -> list[Command]:
        unknown = Unknown(event.problem)
        decision = Decision(Verdict.DROP, Action.DENY, reason, None)
        nobody = Finding(unknown, Attribution.NONE, unknown)
        return [
            GiveVerdict(event.packet_id, Verdict.DROP),
            self._recording.of(event.now, decision, unknown, nobody, event.iface, packets=1),
            Count(counter),
            Count(Counter.DROPPED),
        ]

    def _time_passed(self, event: TimePassed) -> list[Command]:
        now = event.now
        self._wake_ns = None
        due = self._held.due(now.monotonic_ns)
        commands = self._release(due, Reason.UNANSWERED, Counter.UNANSWERED, now)
        if self._judge.mode.is_over(now.monotonic_ns):
            commands += self._set_mode(Mode.ASK, None, now)
        for next_ns in (self._held.next_deadline_ns(), self.mode[1]):
            if next_ns is not None:
                commands += self._wake_by(next_ns)
        return commands

    def _stopping(self, event: Stopping) -> list[Command]:
        self._stopped = True
        return self._release(self._held, Reason.STOPPING, Counter.STOPPING, event.now)

    def _let_go(self, held: Held, outcome: Outcome) -> list[Command]:
        self._held.end(held)
        number = self._questions.leave(held)
        return [] if number is None else [EndQuestion(number, outcome)]

    def _release(
        self, due: Iterable[Held], reason: Reason, counter: Counter, now: Instant
    ) -> list[Command]:
        outcome = Outcome.STOPPING if reason is Reason.STOPPING else Outcome.UNANSWERED
        commands: list[Command] = []
        for held in due:
            commands += self._let_go(held, outcome)
            decision = self._unanswered(held.ruling, reason)
            commands += self._decided(decision, held.arrival, held.packet_ids, now)
            if decision.reason is reason:
                commands.append(Count(counter))
        return commands

    def _unanswered(self, ruling: Ruling, reason: Reason) -> Decision:
        if ruling.reason is Reason.UNIDENTIFIED:
            return Decision(Verdict.DROP, Action.DENY, Reason.UNIDENTIFIED, ruling.rule)
        verdict = VERDICTS[self.ruleset.unanswered]
        return Decision(verdict, Action.ASK, reason, ruling.rule)

    def _decided(
        self, decision: Decision, arrival: FlowArrived, packet_ids: Iterable[int], now: Instant
    ) -> list[Command]:
        commands: list[Command] = [GiveVerdict(each, decision.verdict) for each in packet_ids]
        commands.append(Count(_VERDICT_COUNTERS[decision.verdict], len(commands)))
        flow, cookie = arrival.flow, arrival.found.sock_cookie
        # What was asked about, or may be another's, is recorded each time.
        ordinary = decision.action is not Action.ASK and not arrival.found.rivals
        if ordinary and self._memory.is_repeated(flow, cookie, decision, now.monotonic_ns):
            return commands + self._repeated(decision, flow, arrival.found, now)
        held_ns, packets = now.monotonic_ns - arrival.now.monotonic_ns, len(commands) - 1
        found, iface = arrival.found, arrival.iface
        commands.append(
            self._recording.of(now, decision, flow, found, iface, held_ns=held_ns, packets=packets)
        )
        if decision.reason is Reason.UNIDENTIFIED:
            commands.append(Count(Counter.UNIDENTIFIED))
        return commands

    def _repeated(
        self, decision: Decision, flow: Flow, found: Finding, now: Instant
    ) -> list[Command]:
        commands: list[Command] = [Count(Counter.REPEATED)]
        if (
            decision.verdict is Verdict.ACCEPT
            and not found.shares_port
            and not found.is_closed
            and not isinstance(found.sock_cookie, Unknown)
            and self._memory.trusts(flow, found.sock_cookie, now.monotonic_ns)
        ):
            commands += [TrustFlow(flow), Count(Counter.TRUSTED)]
        return commands

    def _wake_by(self, deadline_ns: int) -> list[Command]:
        if self._wake_ns is not None and self._wake_ns <= deadline_ns:
            return []
        self._wake_ns = deadline_ns
        return [WakeAt(deadline_ns)]
