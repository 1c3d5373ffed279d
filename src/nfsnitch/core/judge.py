"""What is to become of a flow: by the rules, by answers that rules do not keep, by the mode."""

from __future__ import annotations

from nfsnitch.core.case import Case
from nfsnitch.core.decision import STRICTNESS, Action, Reason
from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.mode import ModeState
from nfsnitch.core.owner import Finding
from nfsnitch.core.rule import Ruleset, Ruling
from nfsnitch.core.settled import Settled
from nfsnitch.core.unknown import Unknown


class Judge:
    """Rules on flows. The engine alone changes it."""

    def __init__(self, ruleset: Ruleset) -> None:
        """Begin with *ruleset*, and with nothing answered."""
        self.ruleset = ruleset
        self.mode = ModeState()
        self.settled = Settled(ruleset.settings.limits)

    def use(self, ruleset: Ruleset) -> None:
        """Rule by *ruleset* from here on."""
        self.ruleset = ruleset
        self.settled.limits = ruleset.settings.limits

    def ruling(self, flow: Flow, found: Finding, iface: str | Unknown, now: Instant) -> Ruling:
        """Return what becomes of a flow; `Action.ASK` if somebody must say, or it must wait."""
        ruling = self._by_rules(flow, found, iface, now)
        if ruling.action is not Action.ASK or ruling.reason is Reason.UNIDENTIFIED:
            return ruling
        return self.settled.ruling(flow, found) or self.mode.ruling(ruling)

    def _by_rules(self, flow: Flow, found: Finding, iface: str | Unknown, now: Instant) -> Ruling:
        """Return what the rules say; of several who may have sent it, what they say strictest."""
        case = Case(flow, found.owner, iface, now, found.iface_in)
        ruling = self.ruleset.rule_on(case)
        for rival in found.rivals:
            other = self.ruleset.rule_on(case._replace(owner=rival))
            if STRICTNESS.index(other.action) > STRICTNESS.index(ruling.action):
                ruling = other
        return ruling
