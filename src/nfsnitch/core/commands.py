"""What the engine wants done. It does nothing itself."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Verdict
from nfsnitch.core.flow import Flow
from nfsnitch.core.record import Record


class GiveVerdict(NamedTuple):
    """Tell the kernel what becomes of a packet; once for every packet."""

    packet_id: int
    verdict: Verdict


class WriteRecord(NamedTuple):
    """Hand a decision to the history and to whoever watches, after the verdict."""

    record: Record


class TrustFlow(NamedTuple):
    """Let the further packets of an accepted flow pass in the kernel, without being queued."""

    flow: Flow


class DistrustFlow(NamedTuple):
    """Let the packets of a flow be queued again: its socket is gone."""

    flow: Flow


class WakeAt(NamedTuple):
    """Send `events.TimePassed` at this moment; replaces the moment asked for before."""

    monotonic_ns: int


class Count(NamedTuple):
    """Something happened that people must be able to see afterwards."""

    counter: Counter
    amount: int = 1


Command = GiveVerdict | WriteRecord | TrustFlow | DistrustFlow | WakeAt | Count
