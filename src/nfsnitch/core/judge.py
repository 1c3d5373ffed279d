"""What is to become of a flow: by the rules, by answers that rules do not keep, by the mode."""

from __future__ import annotations

from nfsnitch.core.case import Case
from nfsnitch.core.decision import STRICTNESS, Action, Reason
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.mode import ModeState
from nfsnitch.core.name import NOT_LOOKED_UP
from nfsnitch.core.own import Own
from nfsnitch.core.owner import Finding
from nfsnitch.core.remembered import RememberedRulings
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.settled import Settled
from nfsnitch.core.unknown import Unknown

WAITING = frozenset({Reason.UNIDENTIFIED, Reason.NAME_AWAITED})
"""Why a flow is held that nobody is asked about."""


_OWN = Ruling(Action.ALLOW, Reason.OWN, None)


class Judge:
    """Rules on flows. The engine alone changes it."""

    def __init__(self, ruleset: Ruleset) -> None:
        """Begin with *ruleset*, and with nothing answered."""
        self.ruleset = ruleset
        self._remembered = RememberedRulings(ruleset)
        self.mode = ModeState()
        self.settled = Settled(ruleset.settings.limits)
        self.own = Own()

    def use(self, ruleset: Ruleset) -> None:
        """Rule by *ruleset* from here on."""
        self.ruleset = ruleset
        self._remembered = RememberedRulings(ruleset)
        self.settled.limits = ruleset.settings.limits

    def ruling(self, flow: Flow, found: Finding, iface: str | Unknown, now: Instant) -> Ruling:
        """Return what becomes of a flow; `Action.ASK` if somebody must say, or it must wait."""
        if self.own.fetching is not None and self.own.sends(flow, found):
            return _OWN
        ruling = self._by_rules(flow, found, iface, now)
        if ruling.action is not Action.ASK or ruling.reason in WAITING:
            return ruling
        return self.settled.ruling(flow, found) or self.mode.ruling(ruling)

    def ruling_on(self, arrival: FlowArrived, now: Instant) -> Ruling:
        """Return what becomes, by now, of a flow of which a packet has come."""
        return self.ruling(arrival.flow, arrival.found, arrival.iface, now)

    def remembered(self, arrival: FlowArrived) -> Ruling | None:
        """Return what `ruling_on` does, where the rules have said it before and it is no question.

        Else None; then it may be the same, or anything else.
        """
        if self.own.fetching is not None or arrival.found.rivals:
            return None
        ruling = self._remembered.known(arrival.flow, arrival.found, arrival.iface)
        return None if ruling is None or ruling.action is Action.ASK else ruling

    def _by_rules(self, flow: Flow, found: Finding, iface: str | Unknown, now: Instant) -> Ruling:
        """Return what the rules say; of several who may have sent it, what they say strictest."""
        case = Case(flow, found.owner, iface, now, found.iface_in, found.names)
        ruling = self._remembered.ruling(case)
        if not found.rivals:
            return ruling
        names_of_rivals = found.names_of_rivals or (NOT_LOOKED_UP,) * len(found.rivals)
        for rival, names in zip(found.rivals, names_of_rivals, strict=True):
            other = self.ruleset.rule_on(case._replace(owner=rival, names=names))
            if STRICTNESS.index(other.action) > STRICTNESS.index(ruling.action):
                ruling = other
        return ruling
