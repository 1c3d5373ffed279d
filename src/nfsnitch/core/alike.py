"""Records that differ from another one in next to nothing.

Of what the kernel has decided by itself there may be tens of thousands in a second, and of one
program nothing but the time, the port of the source and the destination's address is another each
time. A whole record of each is made for those alone who want one.
"""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.record import Record


class Alike(NamedTuple):
    """A record, told by another one that is of a `Flow` with ports.

    Where the destination is another one, no name of either is known.
    """

    like: Record
    wall_ns: int
    sport: int
    daddr: bytes

    @property
    def monotonic_ns(self) -> int:
        """The same moment as `wall_ns`, by the clock of names."""
        return self.like.monotonic_ns + self.wall_ns - self.like.wall_ns


def whole(record: Record | Alike) -> Record:
    """Return the record itself."""
    if isinstance(record, Record):
        return record
    like = record.like
    flow = like.flow
    if not isinstance(flow, Flow):
        raise TypeError("only flows are alike")
    return like._replace(
        wall_ns=record.wall_ns,
        monotonic_ns=record.monotonic_ns,
        flow=flow._replace(sport=record.sport, daddr=record.daddr),
    )
