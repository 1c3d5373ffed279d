"""What the engine wants done. It does nothing itself."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.answer import Answer
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Decision, Verdict
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Process
from nfsnitch.core.question import Question
from nfsnitch.core.record import Record
from nfsnitch.core.standing import Reach
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Mode, Outcome


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


class PassFlow(NamedTuple):
    """Let the kernel accept by itself what a socket goes on sending in a flow that was accepted."""

    flow: Flow
    sock_cookie: int
    process: Process
    until_ns: int | None
    """Monotonic; from then on it is to be queued again. None: while the rules are in force."""


class CacheVerdict(NamedTuple):
    """Let the kernel repeat a decision, for this flow and others of its program."""

    flow: Flow
    sock_cookie: int
    process: Process
    decision: Decision
    until_ns: int | None
    """As above."""
    reach: Reach = Reach.DESTINATION
    """To which destinations these others may go."""


class DistrustFlow(NamedTuple):
    """Let the packets of a flow be queued again: its socket is gone."""

    flow: Flow


class ReleaseFlow(NamedTuple):
    """Let the further packets of an accepted flow pass, of which `Verdict.PEEK` kept hold."""

    flow: Flow


class DenyName(NamedTuple):
    """Answer the question in a packet that was dropped: there is no such name."""

    flow: Flow
    """The question's."""
    message: bytes


class ResetPeer(NamedTuple):
    """Let the other end of a connection know as well that it was rejected."""

    flow: Flow
    seq: int
    """Of the first byte that did not reach it."""


class CutDone(NamedTuple):
    """What became of a flow that was to be cut."""

    refused: bool
    """Its further packets meet the rules."""
    spared: bool
    """Its socket should have been destroyed, and this kernel cannot do that."""


class JudgeFlow(NamedTuple):
    """Let a flow be like one that was never trusted nor cut: its next packet is judged."""

    entry: bytes
    """From `events.LiveFlow`."""


class CutFlow(NamedTuple):
    """End a flow that is under way: it is refused from here on."""

    entry: bytes
    """From `events.LiveFlow`."""
    flow: Flow
    sock_cookie: int | Unknown
    is_forwarded: bool = False
    """Its socket is in another network namespace, out of reach."""


class ShowQuestion(NamedTuple):
    """Ask people this, or show them that a question they know has changed."""

    question: Question


class EndQuestion(NamedTuple):
    """Ask this no longer."""

    number: int
    outcome: Outcome
    answer: Answer | None = None
    """Of those that have been answered."""


class TellMode(NamedTuple):
    """Let people know that the mode is another one."""

    mode: Mode
    until_ns: int | None
    """When it is `Mode.ASK` again (monotonic); None: when somebody says so."""


class WakeAt(NamedTuple):
    """Send `events.TimePassed` at this moment; replaces the moment asked for before."""

    monotonic_ns: int


class Count(NamedTuple):
    """Something happened that people must be able to see afterwards."""

    counter: Counter
    amount: int = 1


FlowCommand = (
    TrustFlow
    | PassFlow
    | CacheVerdict
    | DistrustFlow
    | ReleaseFlow
    | JudgeFlow
    | CutFlow
    | DenyName
    | ResetPeer
)
"""What is done about a flow besides the verdicts on its packets."""

Command = (
    GiveVerdict | WriteRecord | FlowCommand | ShowQuestion | EndQuestion | TellMode | WakeAt | Count
)
