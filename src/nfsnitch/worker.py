"""The packet's way through this process: parse, attribute, decide, carry out.

    kernel queue ─► parse ─► attribute ─► engine ─► verdict ─► record
                   core/    adapters/    core/     adapters/  adapters/

Whatever goes wrong on that way ends in a verdict: a packet that this process cannot handle is
dropped, and counted.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, Protocol

from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import (
    CacheVerdict,
    Command,
    Count,
    CutDone,
    CutFlow,
    DenyName,
    DistrustFlow,
    EndQuestion,
    FlowCommand,
    GiveVerdict,
    JudgeFlow,
    PassFlow,
    ReleaseFlow,
    ShowQuestion,
    TellMode,
    TrustFlow,
    WakeAt,
    WriteRecord,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    Answered,
    FlowArrived,
    FlowCached,
    FlowReviewed,
    Instant,
    LiveFlow,
    MalformedArrived,
    ModeSet,
    PacketFailed,
    ProgramIdentified,
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.flow import Flow
from nfsnitch.core.identity import Identity
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.owner import CWD_NOT_LOOKED_UP, Attribution, Finding, Owner, Process
from nfsnitch.core.packet import Malformed, parse
from nfsnitch.core.passage import Passage
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.script import needs_cwd
from nfsnitch.core.segment import read_segment
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Mode

_log = logging.getLogger(__name__)

_NO_SOCKET = Unknown("which socket sent it is not known")
_NOT_LOOKED_UP = Unknown("not looked up")


class QueuedPacket(Protocol):
    """A packet that waits in the kernel (`adapters.nfqueue.QueuedPacket`)."""

    @property
    def packet_id(self) -> int:
        """The kernel's number for it."""

    @property
    def payload(self) -> bytes:
        """The packet from the IP header on."""

    @property
    def ifindex(self) -> int:
        """The interface through which it would leave; 0 if there is none yet."""

    @property
    def passage(self) -> PassageOf | None:
        """How it came here, of its flow as parsed, if it is forwarded; None: we send it."""


PassageOf = Callable[[Flow], Passage]
"""Returns how a packet came that is forwarded, given its flow."""


def _never_forwarded(_flow: Flow, _passage: Passage) -> Finding:
    return Finding(Unknown("forwarded packets are not asked about"), Attribution.NONE, _NO_SOCKET)


def _nobody_asked(_owner: Owner, _daddr: bytes) -> Names:
    return NOT_LOOKED_UP


def _not_looked_up(_process: Process) -> Unknown:
    return CWD_NOT_LOOKED_UP


def _not_released(_flow: Flow) -> bool:
    return False


def _not_answered(_flow: Flow, _message: bytes) -> bool:
    return False


def _not_reset(_flow: Flow, _seq: int) -> bool:
    return False


def _not_repeated(_command: CacheVerdict | PassFlow) -> None:
    pass


def _nothing_to_repeat(_ruleset: Ruleset, _generation: int) -> None:
    pass


def _nothing_is_ours(_packet: bytes) -> bool:
    return False


def _nobody_is_asked(_news: ShowQuestion | EndQuestion | TellMode) -> None:
    pass


def _as_it_is(process: Process) -> Process:
    return process


class Ports(NamedTuple):
    """What the worker needs of the world outside."""

    give_verdict: Callable[[int, Verdict], None]
    find_owner: Callable[[Flow], Finding]
    iface_name: Callable[[int], str | Unknown]
    write_record: Callable[[Record], None]
    trust: Callable[[Flow], bool]
    """Let a flow's further packets pass in the kernel; False if that could not be had."""
    distrust: Callable[[Flow], bool]
    judge: Callable[[bytes], bool]
    """Take every label of ours off an entry of the kernel's; False if that could not be had."""
    cut: Callable[[CutFlow], CutDone]
    wake_at: Callable[[int, Callable[[], None]], None]
    """Call back at this time (ns of the monotonic clock) or later."""
    now: Callable[[], Instant]
    cwd_of: Callable[[Process], str | Unknown] = _not_looked_up
    """Returns a process's working directory; asked only where a rule needs it."""
    find_forwarded: Callable[[Flow, Passage], Finding] = _never_forwarded
    """The same as `find_owner` for what this machine forwards."""
    tell_people: Callable[[ShowQuestion | EndQuestion | TellMode], None] = _nobody_is_asked
    """Show people a question, or that it has ended, or the mode."""
    identified: Callable[[Process], Process] = _as_it_is
    """Returns the process with its identity, at once; what is `Pending` there comes later."""
    names_of: Callable[[Owner, bytes], Names] = _nobody_asked
    """Returns the names of a packed destination address that count for an owner."""

    release: Callable[[Flow], bool] = _not_released
    """Let the packets of a flow pass that `Verdict.PEEK` kept hold of; False if it failed."""
    deny_name: Callable[[Flow, bytes], bool] = _not_answered
    """Answer a DNS question, given with its flow: there is no such name; False if it failed."""
    reset_peer: Callable[[Flow, int], bool] = _not_reset
    """Reset a connection at its other end, which expects that number next; False if it failed."""
    is_ours: Callable[[bytes], bool] = _nothing_is_ours
    """Whether a packet is one that these two have sent, and so to pass."""
    repeat: Callable[[CacheVerdict | PassFlow], None] = _not_repeated
    """Let the kernel repeat a decision by itself, if it can."""
    repeat_none: Callable[[Ruleset, int], None] = _nothing_to_repeat
    """Let it repeat nothing that was decided before these rules, of this generation."""


class Worker:
    """Feeds the engine and does what it says."""

    def __init__(
        self, engine: Engine, ports: Ports, counters: collections.Counter[Counter]
    ) -> None:
        """Count in *counters* what happens to packets."""
        self._engine = engine
        self._ports = ports
        self._wake_ns: int | None = None
        self._counters = counters

    def packet_arrived(self, packet: QueuedPacket) -> None:
        """Handle one queued packet; never raises."""
        self._counters[Counter.PACKETS] += 1
        try:
            if self._ports.is_ours(packet.payload):
                self._give_verdict(packet.packet_id, Verdict.ACCEPT)
                self._counters[Counter.ACCEPTED] += 1
                return
            self._decide(self._event(packet))
        except Exception:  # noqa: BLE001
            # Whatever it was, the packet must not stay without a verdict: that first, for without
            # memory the log fails as well.
            self._drop_after_failure(packet.packet_id)
            self._counters[Counter.ERRORS] += 1
            with suppress(MemoryError):
                _log.exception("packet %d failed after it had been decided", packet.packet_id)

    def sockets_closed(self, sock_cookies: Sequence[int]) -> None:
        """Take note of closed sockets."""
        for sock_cookie in self._engine.known_sockets(sock_cookies):
            event = SocketClosed(self._ports.now(), sock_cookie)
            self._carry_out(self._engine.receive(event))

    def program_identified(self, ticket: int, identity: Identity) -> None:
        """Take note of what was pending of a program (`Identity.ticket`)."""
        event = ProgramIdentified(self._ports.now(), ticket, identity)
        self._carry_out(self._engine.receive(event))

    def record_of(self, event: FlowCached) -> Record:
        """Return the record of a flow that the kernel has given its verdict by itself."""
        found = self._known(event.flow, event.found)
        return self._engine.record_of(event._replace(found=found))

    def rules_changed(self, ruleset: Ruleset, generation: int) -> None:
        """Decide by *ruleset* from here on, what is held included."""
        self._ports.repeat_none(ruleset, generation)
        self._carry_out(
            self._engine.receive(RulesetChanged(self._ports.now(), ruleset, generation))
        )

    def answered(self, question: int, answer: Answer) -> None:
        """Decide the flows that wait for the answer to *question*."""
        self._carry_out(self._engine.receive(Answered(self._ports.now(), question, answer)))

    def mode_set(self, mode: Mode, until_ns: int | None) -> None:
        """Ask people, or do not, until a time (monotonic; None: until somebody says so)."""
        self._carry_out(self._engine.receive(ModeSet(self._ports.now(), mode, until_ns)))

    def flow_reviewed(self, live: LiveFlow) -> None:
        """Do with a flow under way what the rules say of it."""
        if live.found is not None:
            live = live._replace(found=self._known(live.flow, live.found))
        self._carry_out(self._engine.receive(FlowReviewed(self._ports.now(), live)))

    def stop(self) -> None:
        """Give everything that is held its verdict; from here on nothing is held."""
        self._carry_out(self._engine.receive(Stopping(self._ports.now())))

    def _decide(self, event: FlowArrived | MalformedArrived | PacketFailed) -> None:
        if isinstance(event, FlowArrived):
            ruling = self._engine.at_once(event)
            if ruling is not None:
                # The program waits for its verdict, and for nothing else.
                self._give_verdict(event.packet_id, VERDICTS[ruling.action])
                self._carry_out(self._engine.after(event, ruling))
                return
        self._carry_out(self._engine.receive(event))

    def _event(self, packet: QueuedPacket) -> FlowArrived | MalformedArrived | PacketFailed:
        now = self._ports.now()
        iface: str | Unknown = _NOT_LOOKED_UP
        try:
            iface = self._ports.iface_name(packet.ifindex)
            flow = parse(packet.payload)
            if isinstance(flow, Malformed):
                return MalformedArrived(now, packet.packet_id, flow.problem, iface)
            found = self._known(flow, self._found(flow, packet.passage))
            if self._engine.asks_script:
                found = self._with_cwd(found)
            segment = read_segment(packet.payload, flow) if self._engine.reads_data(flow) else None
        except Exception as problem:  # noqa: BLE001  see above
            _log.exception("packet %d could not be looked up", packet.packet_id)
            return PacketFailed(now, packet.packet_id, f"{type(problem).__name__}", iface)
        return FlowArrived(now, packet.packet_id, flow, found, iface, segment)

    def _found(self, flow: Flow, passage_of: PassageOf | None) -> Finding:
        if passage_of is None:
            return self._ports.find_owner(flow)
        passage = passage_of(flow)
        found = self._ports.find_forwarded(flow, passage)
        return found._replace(iface_in=self._ports.iface_name(passage.ifindex))

    def _known(self, flow: Flow, found: Finding) -> Finding:
        """Add which binaries they run who may have sent it, and how each knows the destination."""
        owner, rivals, names_of, daddr = found.owner, found.rivals, self._ports.names_of, flow.daddr
        if isinstance(owner, Process):
            owner = self._ports.identified(owner)
        of_rivals: tuple[Names, ...] = ()
        if rivals:
            rivals = tuple(map(self._identified, rivals))
            of_rivals = tuple(names_of(rival, daddr) for rival in rivals)
        return Finding(
            *(owner, found.attribution, found.sock_cookie, rivals, found.shares_port),
            *(found.is_closed, found.iface_in, names_of(owner, daddr), of_rivals),
        )

    def _identified(self, owner: Owner) -> Owner:
        return self._ports.identified(owner) if isinstance(owner, Process) else owner

    def _with_cwd(self, found: Finding) -> Finding:
        """Add the working directories without which a script has no path."""
        owner = self._located(found.owner)
        return found._replace(owner=owner, rivals=tuple(map(self._located, found.rivals)))

    def _located(self, owner: Owner) -> Owner:
        if isinstance(owner, Process) and needs_cwd(owner):
            return replace(owner, cwd=self._ports.cwd_of(owner))
        return owner

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, GiveVerdict):
                self._give_verdict(command.packet_id, command.verdict)
            elif isinstance(command, Count):
                self._counters[command.counter] += command.amount
            elif isinstance(command, WriteRecord):
                self._ports.write_record(command.record)
            elif isinstance(command, ShowQuestion | EndQuestion | TellMode):
                self._ports.tell_people(command)
            elif isinstance(command, WakeAt):
                self._wake(command)
            else:
                self._change_flow(command)

    def _change_flow(self, command: FlowCommand) -> None:
        if isinstance(command, TrustFlow):
            self._must(self._ports.trust(command.flow))
        elif isinstance(command, CacheVerdict | PassFlow):
            self._ports.repeat(command)
        elif isinstance(command, DistrustFlow):
            self._must(self._ports.distrust(command.flow))
        elif isinstance(command, ReleaseFlow):
            self._must(self._ports.release(command.flow))
        elif isinstance(command, JudgeFlow):
            self._must(self._ports.judge(command.entry))
        elif isinstance(command, CutFlow):
            self._cut(command)
        elif isinstance(command, DenyName):
            self._sent(self._ports.deny_name(command.flow, command.message))
        else:
            self._sent(self._ports.reset_peer(command.flow, command.seq))

    def _sent(self, done: bool) -> None:  # noqa: FBT001  the answer of a port
        self._counters[Counter.ANSWERS_SENT if done else Counter.ANSWERS_LOST] += 1

    def _cut(self, command: CutFlow) -> None:
        done = self._ports.cut(command)
        self._counters[Counter.CUT_ERRORS] += not done.refused
        self._counters[Counter.SOCKETS_SPARED] += done.spared

    def _must(self, done: bool) -> None:  # noqa: FBT001  the answer of a port
        if not done:
            self._counters[Counter.TRUST_ERRORS] += 1

    def _give_verdict(self, packet_id: int, verdict: Verdict) -> None:
        try:
            self._ports.give_verdict(packet_id, verdict)
        except (KeyError, OSError, RuntimeError) as problem:
            _log.warning("no verdict for packet %d: %r", packet_id, problem)
            self._counters[Counter.VERDICT_ERRORS] += 1

    def _drop_after_failure(self, packet_id: int) -> None:
        try:
            self._ports.give_verdict(packet_id, Verdict.DROP)
        except KeyError:
            return  # it had its verdict before something failed
        except (OSError, RuntimeError):
            self._counters[Counter.VERDICT_ERRORS] += 1

    def _wake(self, command: WakeAt) -> None:
        self._wake_ns = command.monotonic_ns
        self._ports.wake_at(command.monotonic_ns, lambda: self._woken(command.monotonic_ns))

    def _woken(self, wake_ns: int) -> None:
        if wake_ns == self._wake_ns:  # else another moment has been asked for since
            self._wake_ns = None
            self._carry_out(self._engine.receive(TimePassed(self._ports.now())))
