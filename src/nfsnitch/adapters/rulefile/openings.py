"""Rules on opening sockets past netfilter: they may ask only what the kernel can judge by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.core.conditions import ValueCondition, bypasses_of
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import MAX_OPENING_RULES, inexpressible
from nfsnitch.core.rule import Condition

_PROTO = "proto"


class OpeningsSoFar:
    """Says what is wrong with each rule on openings; there may be only so many."""

    def __init__(self) -> None:
        self._rules = 0

    def refusals(
        self, conditions: Mapping[str, Condition], action: Action | None
    ) -> Iterator[tuple[str, Refused]]:
        """Yield each field of a rule that does not fit ``proto: packet`` or ``xdp``.

        *conditions* has those that could be read; *action* is None if it could not.
        """
        proto = conditions.get(_PROTO)
        if isinstance(proto, ValueCondition) and proto.negated:
            if any(each in proto.wanted for each in Bypass):
                why = "packet and xdp are no protocols, and not: leaves them out anyhow"
                yield _PROTO, Refused(why, "remove them")
            return
        if not bypasses_of(conditions.values()):
            return
        self._rules += 1
        if self._rules > MAX_OPENING_RULES:
            why = f"the kernel takes {MAX_OPENING_RULES} rules on packet and xdp"
            yield _PROTO, Refused(why, "put several programs into one rule")
        if action is Action.ASK:
            why = "the kernel decides on packet and xdp at once, and nobody can be asked"
            yield "action", Refused(why, "write allow, deny or reject")
        for field, why, instead in inexpressible(conditions.values()):
            yield field, Refused(why, instead)
