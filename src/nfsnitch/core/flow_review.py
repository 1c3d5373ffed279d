"""Flows under way, looked at once more when the rules say something else."""

from __future__ import annotations

from nfsnitch.core.awaiting import Awaiting, identified
from nfsnitch.core.commands import Command, Count, CutFlow, JudgeFlow
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.events import FlowReviewed, LiveFlow, ProgramIdentified
from nfsnitch.core.first_data import FirstData
from nfsnitch.core.instant import Instant
from nfsnitch.core.judge import Judge
from nfsnitch.core.memory import FlowMemory
from nfsnitch.core.owner import Finding
from nfsnitch.core.recording import Recording
from nfsnitch.core.ruleset import Ruling


class FlowReviews:
    """Cuts what is refused now, and has judged what is not plainly allowed."""

    def __init__(
        self, judge: Judge, memory: FlowMemory, recording: Recording, first_data: FirstData
    ) -> None:
        self._judge, self._memory, self._recording = judge, memory, recording
        self._first_data = first_data
        self._unidentified: Awaiting[LiveFlow] = Awaiting()

    def identified(self, event: ProgramIdentified) -> list[Command]:
        """Return what becomes of flows whose program had to be identified first."""
        commands: list[Command] = []
        for live in self._unidentified.done(event.ticket):
            now_found = live.found and identified(live.found, event.ticket, event.identity)
            commands += self.reviewed(FlowReviewed(event.now, live._replace(found=now_found)))
        return commands

    def reviewed(self, event: FlowReviewed) -> list[Command]:
        """Return what becomes of a flow under way."""
        live = event.live
        flow, found = live.flow, live.found
        judge: list[Command] = []
        if live.labelled or live.is_cut:
            judge.append(JudgeFlow(live.entry))
        if found is None:
            return judge
        found = self._first_data.known(flow, found, awaits_name=live.awaits_name)
        ruling = self._judge.ruling(flow, found, live.iface, event.now)
        if live.awaits_name:
            return self._of_awaiting(live, found, ruling, event.now)
        if ruling.action is Action.ALLOW:
            # A label that was given before we were started nobody would take with the socket.
            trusted = live.labelled and self._memory.trusted(flow, found.sock_cookie)
            return [] if trusted else judge
        return self._of_not_allowed(live, found, ruling, event.now, judge)

    def _of_not_allowed(
        self, live: LiveFlow, found: Finding, ruling: Ruling, now: Instant, judge: list[Command]
    ) -> list[Command]:
        self._memory.distrust(live.flow, found.sock_cookie)
        if ruling.action is Action.ASK:
            if ruling.reason is Reason.UNIDENTIFIED:
                if len(self._unidentified) >= self._judge.ruleset.settings.limits.held_flows:
                    return self._cut(live, found, ruling, now)
                self._unidentified.add(found, live)
            return judge
        if ruling.reason is Reason.SILENT:
            return judge  # it was let out when somebody had said so
        return [] if live.is_cut else self._cut(live, found, ruling, now)

    def _of_awaiting(
        self, live: LiveFlow, found: Finding, ruling: Ruling, now: Instant
    ) -> list[Command]:
        """Return what becomes of a connection that has sent no data, as far as anybody knows.

        Whatever does not refuse it now leaves it as it is: its data will be judged.
        """
        if ruling.action is Action.ALLOW:
            return [JudgeFlow(live.entry)]
        if ruling.action is Action.ASK:
            return []
        return [] if live.is_cut else self._cut(live, found, ruling, now)

    def _cut(self, live: LiveFlow, found: Finding, ruling: Ruling, now: Instant) -> list[Command]:
        # Whatever the rule says of new ones, nobody is told here by a packet: the socket is.
        decision = Decision(Verdict.DROP, ruling.action, Reason.CUT, ruling.rule, ruling.entry)
        return [
            CutFlow(live.entry, live.flow, found.sock_cookie, live.is_forwarded),
            self._recording.of(now, decision, live.flow, found, live.iface),
            Count(Counter.FLOWS_CUT),
        ]
