"""The engine: events in, commands out. It takes each event to its parts, in the right order.

Theory of operation
-------------------
Each packet enters once, with `FlowArrived`, `MalformedArrived` or `PacketFailed`, and leaves once,
with `GiveVerdict`; in between it is either being decided (inside one call of `receive`) or held
(`core.waiting`):

    arrives ──► a rule allows, denies, rejects ──────────────────────────────► verdict
       │
       └──────► ask ─► held ─┬─ its time is over / the daemon stops ──────────► verdict
                        ▲    │
    further packets of  └────┘  (a SYN sent again, a repeated datagram: they join)
    a held flow

Most packets are like one before, of the same program to the same destination. For these `at_once`
says what `receive` would, so that their verdict need not wait for the rest, which `after` returns.

A flow whose rule depends on which binary its program is, is held while that is being found out. It
is decided when that is known (`ProgramIdentified`), or refused when it takes too long.

A rule may depend on a name that only the flow's first data can tell (`core.first_data`). Then a TCP
connection is let out for as long as it has no data, and its data waits until it is whole; the same
goes for a datagram. It is decided when the name is told, or will not be. Data of a connection that
does not come whole at once is dropped, for the kernel to send it again with the rest.

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

from collections.abc import Callable, Sequence
from typing import Any

from nfsnitch.core.alarm import Alarm
from nfsnitch.core.commands import (
    Command,
    Count,
    DistrustFlow,
    GiveVerdict,
    TellMode,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason
from nfsnitch.core.events import (
    Answered,
    Event,
    FlowArrived,
    FlowCached,
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
from nfsnitch.core.first_data import FirstData, Step
from nfsnitch.core.flow import Flow
from nfsnitch.core.flow_review import FlowReviews
from nfsnitch.core.inquiry import Inquiry
from nfsnitch.core.judge import Judge
from nfsnitch.core.kernel_verdicts import kernel_verdicts
from nfsnitch.core.memory import FlowMemory
from nfsnitch.core.outcomes import Outcomes, count_told, decision_of
from nfsnitch.core.own import Own
from nfsnitch.core.question import Question
from nfsnitch.core.question_refusal import DNS_PORT, QuestionRefusal, Readers
from nfsnitch.core.record import Record
from nfsnitch.core.recording import Recording
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.unknown import Unknown
from nfsnitch.core.waiting import WaitingFlows
from nfsnitch.protocol.words import Mode


class Engine:
    """Decides flows by the rules and holds those that must be asked about."""

    def __init__(self, ruleset: Ruleset, netns: int, readers: Readers | None = None) -> None:
        """Start with *ruleset*, for packets seen in network namespace *netns* (inode number).

        What packets carry is read by means of *readers*.
        """
        readers = readers or Readers()
        self._judge = Judge(ruleset)
        self._recording = Recording(netns)
        self.kernel_answers = False
        """Whether decisions are handed to the kernel, for it to repeat them by itself."""
        self._inquiry = Inquiry()
        self._alarm = Alarm()
        self._memory = FlowMemory(ruleset.settings.limits)
        self._first_data = FirstData(ruleset, readers.cipher)
        self._refusal = QuestionRefusal(self._judge, self._recording, readers.read_question)
        self._outcomes = Outcomes(self._memory, self._recording, self._first_data)
        parts = (self._judge, self._first_data, self._outcomes, self._inquiry, self._alarm)
        self._waiting = WaitingFlows(*parts)
        self._reviews = FlowReviews(self._judge, self._memory, self._recording, self._first_data)
        self._last_ruling = Ruling(Action.DENY, Reason.ERROR, None)
        self._last_decision = decision_of(self._last_ruling)
        self._reads_data = self._refuses_questions = self.asks_script = False
        self._note_wishes(ruleset)
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
        return len(self._waiting)

    @property
    def questions(self) -> list[Question]:
        """What is asked now, the earliest first."""
        return self._inquiry.questions

    @property
    def silenced(self) -> list[Question]:
        """What would have been asked in a silent mode, the latest last."""
        return self._inquiry.silenced

    def question(self, number: int) -> Question | None:
        """Return a question that is asked, or would have been; None if it has ended."""
        return self._inquiry.question(number)

    @property
    def mode(self) -> tuple[Mode, int | None]:
        """The mode, and when it is `Mode.ASK` again (monotonic, ns; None: it stays)."""
        return self._judge.mode.mode, self._judge.mode.until_ns

    @property
    def own(self) -> Own:
        """What we send ourselves, and may."""
        return self._judge.own

    def reads_data(self, flow: Flow) -> bool:
        """Whether rules may want to know what a packet of *flow* carries."""
        return self._reads_data or (self._refuses_questions and flow.dport == DNS_PORT)

    def _note_wishes(self, ruleset: Ruleset) -> None:
        """Take note of what *ruleset* wants to know, of which each packet is asked."""
        self._reads_data = ruleset.reads_first_data
        self._refuses_questions = ruleset.refuses_questions
        self.asks_script = ruleset.asks_script
        """Whether a rule wants to know which script an interpreter runs."""

    def known_sockets(self, cookies: Sequence[int]) -> list[int]:
        """Return those whose end makes a difference: of most sockets nothing is kept."""
        parts = self._judge.settled, self._waiting, self._first_data, self._memory
        some = set(cookies)
        known = set[int | Unknown]().union(*(part.sockets & some for part in parts))
        return [cookie for cookie in cookies if cookie in known] if known else []

    def receive(self, event: Event) -> list[Command]:
        """Return what is to be done about *event*, in this order."""
        return self._handlers[type(event)](event)

    def at_once(self, arrival: FlowArrived) -> Ruling | None:
        """Return what becomes of a packet for which that is known already; None: `receive` it.

        So it is of most: nobody wants to know what it carries, the flow is not held, and the rules
        have said it of the same program and destination before. It is what `receive` would come
        to, so that the verdict may be given first; what else is to be done is left to `after`.
        """
        if arrival.segment is not None:
            return None
        if self._refuses_questions and arrival.flow.dport == DNS_PORT:
            return None
        if self._first_data.concerns(arrival) or self._waiting.find(arrival) is not None:
            return None
        return self._judge.remembered(arrival)

    def after(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        """Return what is to be done about a packet that has had its verdict by *ruling*."""
        decision = self._decision_of(ruling)
        commands = self._outcomes.after_verdicts(decision, arrival, 1, arrival.now)
        if ruling.reason is Reason.SILENT and Count(Counter.REPEATED) not in commands:
            commands += self._inquiry.silence(arrival, ruling)
        if self.kernel_answers:
            commands += kernel_verdicts(self.ruleset, arrival, ruling)
        return commands

    def record_of(self, event: FlowCached) -> Record:
        """Return the record of what was decided without the engine; nothing else comes of it."""
        what = (event.decision, event.flow, event.found, event.iface)
        (record,) = self._recording.of(event.now, *what)
        return record._replace(is_cached=True, generation=event.generation)

    def _flow_arrived(self, arrival: FlowArrived) -> list[Command]:
        if self._refuses_questions:
            refused = self._refusal.received(arrival)
            if refused is not None:
                return refused
        arrival = self._first_data.prepared(arrival)
        held = self._waiting.find(arrival)
        if held is not None:
            return self._waiting.join(held, arrival)
        owner = arrival.found.owner
        ruling = self._judge.ruling_on(arrival, arrival.now)
        counts: list[Command] = []
        if isinstance(owner, Unknown):
            counts.append(Count(Counter.UNATTRIBUTED))
        if ruling.reason is Reason.NAME_AWAITED:
            step = self._first_data.read(arrival)
            if step is Step.NO_DATA:
                return counts + self._outcomes.let_out(arrival, ruling, (arrival.packet_id,))
            if step is Step.TOLD:
                arrival = self._first_data.applied(arrival)
                ruling = self._judge.ruling_on(arrival, arrival.now)
                counts.append(count_told(arrival))
        if ruling.action is Action.ASK:
            return counts + self._waiting.hold(arrival, ruling)
        return self._decided(arrival, ruling) + counts

    def _decided(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        verdict = self._decision_of(ruling).verdict
        return [GiveVerdict(arrival.packet_id, verdict), *self.after(arrival, ruling)]

    def _decision_of(self, ruling: Ruling) -> Decision:
        if ruling is not self._last_ruling:  # in a burst most flows are ruled on alike
            self._last_ruling, self._last_decision = ruling, decision_of(ruling)
        return self._last_decision

    def _malformed_arrived(self, event: MalformedArrived) -> list[Command]:
        return self._outcomes.refused(event, Reason.MALFORMED, Counter.MALFORMED)

    def _packet_failed(self, event: PacketFailed) -> list[Command]:
        return self._outcomes.refused(event, Reason.ERROR, Counter.ERRORS)

    def _socket_closed(self, event: SocketClosed) -> list[Command]:
        cookie = event.sock_cookie
        self._judge.settled.closed(cookie)
        commands = self._waiting.closed(event)
        commands += self._alarm.by(self._first_data.closed(cookie, event.now.monotonic_ns))
        return commands + [DistrustFlow(flow) for flow in self._memory.closed(cookie)]

    def _answered(self, event: Answered) -> list[Command]:
        if self._inquiry.forget_silenced(event.question):
            return []
        return self._waiting.answered(event) or [Count(Counter.ANSWERED_LATE)]

    def _mode_set(self, event: ModeSet) -> list[Command]:
        return self._set_mode(event.mode, event.until_ns, event.now)

    def _set_mode(self, mode: Mode, until_ns: int | None, now: Instant) -> list[Command]:
        self._judge.mode.set(mode, until_ns)
        commands: list[Command] = [TellMode(*self.mode)]
        commands += self._waiting.rule_again(now)
        return commands + self._alarm.by(self._judge.mode.until_ns)

    def _ruleset_changed(self, event: RulesetChanged) -> list[Command]:
        self._judge.use(event.ruleset)
        self._note_wishes(event.ruleset)
        self._first_data.use(event.ruleset)
        self._recording.generation = event.generation
        self._memory.limits = event.ruleset.settings.limits
        self._memory.forget_decisions()
        return self._waiting.rule_again(event.now)

    def _program_identified(self, event: ProgramIdentified) -> list[Command]:
        return self._waiting.identified(event) + self._reviews.identified(event)

    def _time_passed(self, event: TimePassed) -> list[Command]:
        now = event.now
        self._alarm.rang()
        commands = self._waiting.time_passed(now)
        if self._judge.mode.is_over(now.monotonic_ns):
            commands += self._set_mode(Mode.ASK, None, now)
        self._first_data.over(now.monotonic_ns)
        commands += self._outcomes.unsaid(now)
        nexts = (self._waiting.next_deadline_ns(), self.mode[1], self._first_data.next_ns())
        for next_ns in nexts:
            commands += self._alarm.by(next_ns)
        return commands

    def _stopping(self, event: Stopping) -> list[Command]:
        released = self._waiting.stop(event.now)
        self._first_data.stop()
        return released + self._outcomes.unsaid(event.now)
