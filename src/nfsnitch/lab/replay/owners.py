"""Whose the flows of a capture are, by decisions that were recorded at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import Attribution, Owner
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.record_files import recorded

NEAR_NS = 60_000_000_000
"""As long as a flow that goes on being decided alike is not recorded again."""
MOST_RECORDS = 1_000_000
NOT_RECORDED = Unknown("no decision on this flow was recorded at that time")

_Key = tuple[int, bytes, bytes, int | None, int | None]


class Whose(NamedTuple):
    """What a record says of a flow besides the flow itself."""

    arrived_ns: int
    """When its packet came (wall clock)."""
    owner: Owner
    attribution: Attribution
    rivals: tuple[Owner, ...]
    iface: str | Unknown
    names: Names


class Owners:
    """Looks up whose a flow was at a moment."""

    def __init__(self, paths: Sequence[Path], notes: Notes) -> None:
        """Read the records of *paths*.

        Raises:
            BadInputError: one of them cannot be read.

        """
        self._by_flow: dict[_Key, list[Whose]] = {}
        count = 0
        for path in paths:
            for each in recorded(path, notes):
                if isinstance(each.flow, Unknown):
                    continue
                if count == MOST_RECORDS:
                    notes.count("records of owners that there was no room for")
                    continue
                count += 1
                arrived_ns = each.wall_ns - each.held_ns
                who = (each.owner, each.attribution, each.rivals, each.iface, each.names)
                self._by_flow.setdefault(_key(each.flow), []).append(Whose(arrived_ns, *who))

    def of(self, flow: Flow, wall_ns: int) -> Whose | None:
        """Return what was recorded of a flow nearest to a moment; None: nothing near enough."""
        found = self._by_flow.get(_key(flow), ())
        nearest = min(found, key=lambda each: abs(each.arrived_ns - wall_ns), default=None)
        if nearest is None or abs(nearest.arrived_ns - wall_ns) > NEAR_NS:
            return None
        return nearest


def _key(flow: Flow) -> _Key:
    ports = (None if isinstance(each, Unknown) else each for each in (flow.sport, flow.dport))
    sport, dport = ports
    return flow.proto, flow.saddr, flow.daddr, sport, dport
