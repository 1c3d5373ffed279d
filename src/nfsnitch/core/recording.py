"""Records of decisions, made from what the engine knows of a flow."""

from __future__ import annotations

from nfsnitch.core.commands import WriteRecord
from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Finding
from nfsnitch.core.record import Record
from nfsnitch.core.unknown import Unknown


class Recording:
    """Adds what all records of the moment have in common."""

    def __init__(self, netns: int) -> None:
        """Packets are seen in network namespace *netns* (inode number)."""
        self._netns = netns
        self.generation = 1
        """Of the rules in force."""

    def of(
        self,
        now: Instant,
        decision: Decision,
        flow: Flow | Unknown,
        found: Finding,
        iface: str | Unknown,
        *,
        held_ns: int = 0,
        packets: int = 0,
    ) -> WriteRecord:
        """Return the command to write a record of a decision."""
        return WriteRecord(
            Record(
                *(now.wall_ns, decision, held_ns, packets, flow),
                *(found.owner, found.attribution, self._netns, iface, found.rivals),
                *(self.generation, found.iface_in, found.names, now.monotonic_ns),
            )
        )
