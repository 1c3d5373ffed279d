"""What is done about decisions: verdicts, counts, trust, records."""

from __future__ import annotations

from collections.abc import Iterable

from nfsnitch.core.commands import Command, Count, GiveVerdict, ReleaseFlow, ResetPeer, TrustFlow
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Action, Decision, Reason, Verdict
from nfsnitch.core.events import FlowArrived, MalformedArrived, PacketFailed
from nfsnitch.core.first_data import FirstData, Watched
from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.memory import FlowMemory
from nfsnitch.core.name import FIRST_DATA
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.recording import Recording
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.unknown import Unknown

_VERDICT_COUNTERS = {
    Verdict.ACCEPT: Counter.ACCEPTED,
    Verdict.DROP: Counter.DROPPED,
    Verdict.REJECT: Counter.REJECTED,
}
_ONE = {verdict: Count(counter) for verdict, counter in _VERDICT_COUNTERS.items()}
"""Of one packet, as most are."""


class Outcomes:
    """Turns decisions into commands, and remembers them. The engine alone asks it."""

    def __init__(self, memory: FlowMemory, recording: Recording, first_data: FirstData) -> None:
        self._memory, self._recording, self._first_data = memory, recording, first_data

    def let_out(
        self, arrival: FlowArrived, ruling: Ruling, packet_ids: Iterable[int]
    ) -> list[Command]:
        """Let a connection out for as long as it has no data. Its record is yet to come."""
        commands: list[Command] = [GiveVerdict(each, Verdict.PEEK) for each in packet_ids]
        packets = len(commands)
        commands.append(Count(Counter.ACCEPTED, packets))
        if self._first_data.let_out(arrival, ruling, packets):
            commands.append(Count(Counter.NAMES_AWAITED))
        return commands + self.unsaid(arrival.now)

    def unsaid(self, now: Instant) -> list[Command]:
        """Return the records of connections that have ended without any data."""
        return [self._record_unsaid(each, now) for each in self._first_data.unsaid()]

    def _record_unsaid(self, watched: Watched, now: Instant) -> Command:
        rule = watched.ruling.rule if watched.ruling else None
        decision = Decision(Verdict.ACCEPT, Action.ASK, Reason.NAME_AWAITED, rule)
        arrival, packets = watched.arrival, watched.packets
        return self._recording.of(
            now, decision, arrival.flow, arrival.found, arrival.iface, packets=packets
        )

    def refused(
        self, event: MalformedArrived | PacketFailed, reason: Reason, counter: Counter
    ) -> list[Command]:
        """Refuse a packet of which nobody can say what it is."""
        unknown = Unknown(event.problem)
        decision = Decision(Verdict.DROP, Action.DENY, reason, None)
        nobody = Finding(unknown, Attribution.NONE, unknown)
        return [
            GiveVerdict(event.packet_id, Verdict.DROP),
            self._recording.of(event.now, decision, unknown, nobody, event.iface, packets=1),
            Count(counter),
            Count(Counter.DROPPED),
        ]

    def decided(
        self, decision: Decision, arrival: FlowArrived, packet_ids: Iterable[int], now: Instant
    ) -> list[Command]:
        """Return what is done about a decision: verdicts, counts, trust, the record."""
        verdicts: list[Command] = [GiveVerdict(each, decision.verdict) for each in packet_ids]
        return verdicts + self.after_verdicts(decision, arrival, len(verdicts), now)

    def after_verdicts(
        self, decision: Decision, arrival: FlowArrived, packets: int, now: Instant
    ) -> list[Command]:
        """Return the same where so many packets have had their verdict."""
        verdict = decision.verdict
        commands: list[Command] = [
            _ONE[verdict] if packets == 1 else Count(_VERDICT_COUNTERS[verdict], packets)
        ]
        flow, cookie = arrival.flow, arrival.found.sock_cookie
        if verdict is Verdict.ACCEPT and self._first_data.releases(arrival, now.monotonic_ns):
            commands.append(ReleaseFlow(flow))
        # What was asked about, or may be another's, is recorded each time.
        ordinary = decision.action is not Action.ASK and not arrival.found.rivals
        if ordinary and self._memory.is_repeated(flow, cookie, decision, now.monotonic_ns):
            return commands + self._repeated(decision, flow, arrival.found, now)
        if verdict is Verdict.REJECT:
            commands += reset_of(decision, arrival)
        held_ns = now.monotonic_ns - arrival.now.monotonic_ns
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


def decision_of(ruling: Ruling) -> Decision:
    """Return the decision that a ruling is, unless it is to ask or to wait."""
    verdict = VERDICTS[ruling.action]
    return Decision(verdict, ruling.action, ruling.reason, ruling.rule, ruling.entry)


def count_told(arrival: FlowArrived) -> Count:
    """Count a flow whose first data has told what it will: a name, or that there is none."""
    sources = {name.source for name in arrival.found.names.names}
    return Count(Counter.NAMES_READ if sources & FIRST_DATA else Counter.NAMES_NOT_READ)


def reset_of(decision: Decision, arrival: FlowArrived) -> list[Command]:
    """Return the command to tell a server that knows of the connection, if it is rejected."""
    segment = arrival.segment
    if decision.verdict is not Verdict.REJECT or segment is None or segment.tcp is None:
        return []
    return [] if segment.opens or segment.is_empty else [ResetPeer(arrival.flow, segment.tcp.seq)]
