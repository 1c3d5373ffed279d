"""Faults in holding flows, asking, and taking answers."""

from __future__ import annotations

from lab.mutants.mutant import Function, around, mutant
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import Command, ShowQuestion
from nfsnitch.core.decision import Decision, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.holding import Held, Holding
from nfsnitch.core.inquiry import Inquiry
from nfsnitch.core.question import Questions, Topic
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settled import Settled
from nfsnitch.core.waiting import WaitingFlows


@mutant("held-forgotten", "who is held is held on when the time is over", "asking/unanswered")
def _held_forgotten() -> None:
    around(Holding, "due", lambda _real, _holding, _now_ns: [])


@mutant("no-question", "nobody is shown a question", "asking/answer-allow")
def _no_question() -> None:
    def ask(real: Function, *args: object) -> list[Command]:
        return [each for each in real(*args) if not isinstance(each, ShowQuestion)]

    around(Inquiry, "ask", ask)
    around(Inquiry, "changed", lambda _real, _inquiry, _held: [])
    around(Questions, "asked", lambda _real, _questions: [])


@mutant("answer-for-all", "an answer is for all that are held", "asking/each-question-for-itself")
def _answer_for_all() -> None:
    asked: list[Held] = []

    def ask(real: Function, inquiry: Inquiry, held: Held, topic: Topic) -> list[Command]:
        asked.append(held)
        commands: list[Command] = real(inquiry, held, topic)
        return commands

    def leave(real: Function, inquiry: Inquiry, held: Held, *args: object) -> list[Command]:
        asked.remove(held)
        commands: list[Command] = real(inquiry, held, *args)
        return commands

    around(Inquiry, "ask", ask)
    around(Inquiry, "leave", leave)
    around(Inquiry, "waiting_for", lambda _real, _inquiry, _number: list(asked))


@mutant("answer-reversed", "who answers allow gets deny", "asking/answer-allow")
def _answer_reversed() -> None:
    reversed_ = {Verdict.ACCEPT: Verdict.DROP, Verdict.DROP: Verdict.ACCEPT}

    def by(real: Function, waiting: WaitingFlows, answer: Answer, held: Held) -> Decision:
        decision: Decision = real(waiting, answer, held)
        verdict = reversed_.get(decision.verdict, decision.verdict)
        return Decision(verdict, decision.action, decision.reason, decision.rule)

    around(WaitingFlows, "_decision_by", by)


@mutant("dismissed-is-allowed", "what is dismissed is let out", "asking/dismiss")
def _dismissed_is_allowed() -> None:
    _unanswered_is(Reason.DISMISSED)


@mutant("unanswered-is-allowed", "what nobody answers is let out", "asking/unanswered")
def _unanswered_is_allowed() -> None:
    _unanswered_is(Reason.UNANSWERED)


@mutant("stop-lets-out", "who is held while the daemon stops is let out", "failing/stop-while-held")
def _stop_lets_out() -> None:
    _unanswered_is(Reason.STOPPING)


def _unanswered_is(which: Reason) -> None:
    def unanswered(real: Function, waiting: WaitingFlows, ruling: object, why: Reason) -> Decision:
        decision: Decision = real(waiting, ruling, why)
        if why is not which:
            return decision
        return Decision(Verdict.ACCEPT, decision.action, decision.reason, decision.rule)

    around(WaitingFlows, "_unanswered", unanswered)


@mutant("gone-unnoticed", "who gives up stays held", "asking/gone")
def _gone_unnoticed() -> None:
    around(Engine, "_socket_closed", lambda _real, _engine, _event: [])


@mutant("no-held-limit", "any number of flows is held", "asking/held-limit")
def _no_held_limit() -> None:
    around(WaitingFlows, "_are_too_many", lambda _real, _waiting, _topic: False)


@mutant(
    "each-packet-asks",
    "each packet of a held flow is held for itself",
    "tcp/retransmission-while-held",
)
def _each_packet_asks() -> None:
    around(WaitingFlows, "find", lambda _real, _waiting, _arrival: None)


@mutant("each-flow-asks", "each flow has a question of its own", "asking/one-question-for-many")
def _each_flow_asks() -> None:
    def ask(real: Function, inquiry: Inquiry, held: Held, topic: Topic) -> list[Command]:
        commands: list[Command] = real(inquiry, held, topic._replace(daddr=bytes([id(held) % 256])))
        return commands

    around(Inquiry, "ask", ask)


@mutant("answers-forgotten", "an answer for a while is for once", "asking/answer-for-a-while")
def _answers_forgotten() -> None:
    around(Ruleset, "with_answers", lambda _real, ruleset, _answers: ruleset)


@mutant("settled-forgotten", "an answered flow is asked about again", "rules/answered-flow-goes-on")
def _settled_forgotten() -> None:
    around(Settled, "ruling", lambda _real, _settled, _flow, _found: None)


@mutant(
    "held-delays-others",
    "nothing is taken from the queue while something is held",
    "asking/each-question-for-itself",
    "asking/one-question-for-many",
)
def _held_delays_others() -> None:
    def drain(real: Function, queue: PacketQueue, on_packet: object) -> int:
        return 0 if queue.waiting else int(real(queue, on_packet))

    around(PacketQueue, "drain", drain)
