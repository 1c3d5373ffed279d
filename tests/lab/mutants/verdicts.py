"""Faults in verdicts: what the kernel is told, and what is decided."""

from __future__ import annotations

from collections.abc import Iterable

from lab.mutants.mutant import Function, around, mutant, nft_text
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.core import waiting
from nfsnitch.core.commands import Command, GiveVerdict, WriteRecord
from nfsnitch.core.decision import VERDICTS, Action, Decision, Verdict
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.instant import Instant
from nfsnitch.core.outcomes import Outcomes


def _told(before: Verdict, after: Verdict) -> None:
    def give(real: Function, queue: PacketQueue, packet_id: int, verdict: Verdict) -> None:
        real(queue, packet_id, after if verdict is before else verdict)

    around(PacketQueue, "give_verdict", give)


# A SYN that was dropped is sent again, and passes by the decision that the kernel repeats.
@mutant("accept-becomes-drop", "what is accepted is dropped", "udp/request-without-reply")
def _accept_becomes_drop() -> None:
    _told(Verdict.ACCEPT, Verdict.DROP)


@mutant("drop-becomes-accept", "what is dropped is let out", "tcp/denied-in-silence")
def _drop_becomes_accept() -> None:
    _told(Verdict.DROP, Verdict.ACCEPT)


@mutant("reject-becomes-drop", "what is rejected is dropped in silence", "tcp/two-programs")
def _reject_becomes_drop() -> None:
    _told(Verdict.REJECT, Verdict.DROP)


@mutant("reject-becomes-accept", "what is rejected is let out", "tcp/two-programs")
def _reject_becomes_accept() -> None:
    _told(Verdict.REJECT, Verdict.ACCEPT)


@mutant("no-reset", "nft sends no reset for TCP that is rejected", "tcp/two-programs")
def _no_reset() -> None:
    nft_text("meta l4proto tcp reject with tcp reset", "meta l4proto tcp drop")


@mutant("no-icmp", "nft sends no ICMP error for what is rejected", "udp/rejected-datagram")
def _no_icmp() -> None:
    nft_text("reject with icmpx type admin-prohibited", "drop")


@mutant("allow-means-deny", "a rule that allows denies", "tcp/two-programs")
def _allow_means_deny() -> None:
    _says(Action.ALLOW, Verdict.DROP)


@mutant("deny-means-allow", "a rule that denies allows", "tcp/denied-in-silence")
def _deny_means_allow() -> None:
    _says(Action.DENY, Verdict.ACCEPT)


def _says(action: Action, verdict: Verdict) -> None:
    # Made from the other table when it is imported: it has to be there before that is wrong.
    assert vars(waiting)["VERDICTS"] is VERDICTS
    VERDICTS[action] = verdict


@mutant("malformed-accepted", "packets that cannot be read are let out", "ip/malformed-tcp")
def _malformed_accepted() -> None:
    def refused(real: Function, *args: object) -> list[Command]:
        commands: list[Command] = real(*args)
        return [
            each._replace(verdict=Verdict.ACCEPT) if isinstance(each, GiveVerdict) else each
            for each in commands
        ]

    around(Outcomes, "refused", refused)


@mutant(
    "verdict-twice",
    "the first packet of a held flow gets its verdict twice",
    "asking/answer-allow",
)
def _verdict_twice() -> None:
    def decided(
        real: Function,
        outcomes: Outcomes,
        decision: Decision,
        arrival: FlowArrived,
        packet_ids: Iterable[int],
        now: Instant,
    ) -> list[Command]:
        commands: list[Command] = real(outcomes, decision, arrival, packet_ids, now)
        return [*commands, *commands[:1]] if decision.action is Action.ASK else commands

    around(Outcomes, "decided", decided)


@mutant(
    "verdict-missing",
    "further packets of a held flow never get a verdict",
    "tcp/retransmission-while-held",
    "asking/packets-of-a-held-flow",
)
def _verdict_missing() -> None:
    def decided(
        real: Function,
        outcomes: Outcomes,
        decision: Decision,
        arrival: FlowArrived,
        packet_ids: Iterable[int],
        now: Instant,
    ) -> list[Command]:
        first, *others = real(outcomes, decision, arrival, packet_ids, now)
        return [first, *(each for each in others if not isinstance(each, GiveVerdict))]

    around(Outcomes, "decided", decided)


@mutant("no-record", "nothing that is accepted is recorded", "udp/request-without-reply")
def _no_record() -> None:
    def after(real: Function, *args: object) -> list[Command]:
        commands: list[Command] = real(*args)
        return [each for each in commands if not _tells_of_accepted(each)]

    around(Outcomes, "after_verdicts", after)


def _tells_of_accepted(command: Command) -> bool:
    if not isinstance(command, WriteRecord):
        return False
    return command.record.decision.verdict is Verdict.ACCEPT


@mutant("record-twice", "each decision is recorded twice", "udp/request-without-reply")
def _record_twice() -> None:
    def after(real: Function, *args: object) -> list[Command]:
        commands: list[Command] = real(*args)
        return [*commands, *(each for each in commands if isinstance(each, WriteRecord))]

    around(Outcomes, "after_verdicts", after)


@mutant(
    "repeated-again",
    "each packet of a flow is recorded",
    "udp/request-without-reply",
)
def _repeated_again() -> None:
    from nfsnitch.core.memory import FlowMemory  # noqa: PLC0415

    around(FlowMemory, "is_repeated", lambda real, *args: bool(real(*args)) and False)
