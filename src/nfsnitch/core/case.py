"""What rules are asked about."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.owner import NOT_FORWARDED, Owner
from nfsnitch.core.unknown import Unknown


class Case(NamedTuple):
    """One flow with all that is known of it when it is decided."""

    flow: Flow
    owner: Owner
    """Whoever sends it, or one of those who may."""
    iface: str | Unknown
    """The interface through which it would leave."""
    now: Instant
    iface_in: str | Unknown = NOT_FORWARDED
    """The interface by which it came, if it is forwarded."""
    names: Names = NOT_LOOKED_UP
    """Of the destination address, as far as they count for this owner."""
