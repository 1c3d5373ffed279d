"""The daemon: the only place that wires the core to its adapters.

What it owns lives exactly as long as `run`: the instance lock, the eBPF programs, the queue, the
ruleset. They are set up in that order, so that the ruleset, which is what makes packets depend on
us, comes last; and a clean stop takes it away first.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from nfsnitch import protocol, wiring
from nfsnitch.adapters import netns, privileges
from nfsnitch.adapters.answers_file import AnswersFile
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.clock import Clock
from nfsnitch.adapters.control import ControlServer, Handlers
from nfsnitch.adapters.control_socket import ControlSocket, ControlSocketError
from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.instance import AlreadyRunningError, InstanceLock
from nfsnitch.adapters.interfaces import Interfaces
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.adapters.links import Links
from nfsnitch.adapters.losses import Losses
from nfsnitch.adapters.nfqueue import PacketQueue, QueuedPacket, QueueError
from nfsnitch.adapters.nft import Queueing
from nfsnitch.adapters.procfs import is_running
from nfsnitch.adapters.rate_limit import proc_limit
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.adapters.rulefile import system_names
from nfsnitch.adapters.sd_notify import notify
from nfsnitch.adapters.watchdog import Watchdog
from nfsnitch.asking.book import AnswerBook
from nfsnitch.asking.people import Doing, People
from nfsnitch.core.commands import EndQuestion, ShowQuestion, TellMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.identity import Identity
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule, Ruleset
from nfsnitch.core.settings import Settings
from nfsnitch.in_force import InForce
from nfsnitch.keeping import kept_programs, owner_store
from nfsnitch.lean import keep_little_memory
from nfsnitch.openings import Openings, World
from nfsnitch.options import RunOptions
from nfsnitch.programs import Programs
from nfsnitch.protocol import Status, socket_path
from nfsnitch.reload import Loaded, Reloaded, Reloader, RulesRefusedError, load_first, load_whole
from nfsnitch.review import FlowReview
from nfsnitch.status import Parts, status
from nfsnitch.triggers import ReloadTriggers
from nfsnitch.upkeep import ClockLook, RecordWriter, Upkeep
from nfsnitch.worker import Worker

_log = logging.getLogger(__name__)

_START_PROBLEMS = (
    AlreadyRunningError,
    BpfError,
    ControlSocketError,
    EnforcementError,
    OSError,
    privileges.PrivilegesError,
    QueueError,
    RulesRefusedError,
)


def run(options: RunOptions) -> int:
    """Enforce in the present network namespace until SIGTERM or SIGINT; returns the exit status."""
    logging.basicConfig(format="nfsnitch: %(message)s", level=logging.INFO)
    keep_little_memory()
    with ExitStack() as stack:
        try:
            daemon = Daemon(options, stack)
            daemon.give_up_privileges()
            daemon.enforce()
            _say("ready", sys.stdout)
        except _START_PROBLEMS as problem:
            _say(f"nfsnitch: cannot run: {problem}", sys.stderr)
            return 1
        notify("READY=1")
        daemon.serve()
        notify("STOPPING=1")
        try:
            daemon.stop()
        except EnforcementError as problem:
            _say(f"nfsnitch: the rules are still in force: {problem}", sys.stderr)
            return 1
        _say(f"nfsnitch: stopped ({daemon.counted()})", sys.stderr)
    return 0


class Daemon:
    """All parts, wired."""

    def __init__(self, options: RunOptions, stack: ExitStack) -> None:
        """Set everything up short of the ruleset; *stack* takes it down again."""
        _check_rights()
        self._counters: collections.Counter[Counter] = collections.Counter()
        loaded = load_first(options.rules)
        namespace = netns.inode()
        stack.callback(InstanceLock(namespace).release)
        self._loop = stack.enter_context(closing(asyncio.new_event_loop()))
        self._failure: BaseException | None = None
        self._has_ended = False
        self._count_again_s = 0.0
        self._keep_owners = False
        self._listen_to_signals()
        self._proc_limit = proc_limit()
        self._forward = options.forward
        self._kept = stack.enter_context(kept_programs(options, namespace))
        self._programs = self._kept.programs
        self._owners = self._recorded_owners(stack)
        self._record_file = RecordFile(options.records) if options.records else None
        if self._record_file:
            stack.callback(self._record_file.close)
        self._records = RecordWriter(self._loop, self._record_file)
        self._known = self._programs_known(options, stack)
        self._interfaces = Interfaces()
        ledger = stack.enter_context(closing(Ledger(namespace)))
        settings = loaded.ruleset.settings
        self._queue = self._opened_queue(options, settings, ledger, stack)
        self._links = stack.enter_context(closing(Links()))
        self._clock = Clock()
        book = self._answers(options)
        loaded = loaded._replace(ruleset=loaded.ruleset.with_answers(book.rules()))
        self._engine = Engine(loaded.ruleset, namespace)
        self._people = People(self._engine, book, self._clock.now)
        self._worker, look = self._wired(stack)
        enforcement = Enforcement(options.queue_num, settings, forward=options.forward)
        self._enforcement = stack.enter_context(closing(enforcement))
        self._openings = stack.enter_context(closing(self._openings_watched(namespace)))
        putting = (self._enforcement, self._queue, self._openings, self._worker)
        self._in_force = InForce(self._engine, *putting)
        self._losses = Losses(self._enforcement, self._queue, ledger)
        self._clock_look = ClockLook(self._clock.now, self._counters)
        self._watchdog = Watchdog(settings.hang_timeout_ns)
        stack.callback(self._watchdog.stop)
        self._parts = Parts(
            options,
            namespace,
            time.monotonic(),
            self._engine,
            self._queue,
            self._enforcement,
            self._programs,
            self._counters,
            self._people,
        )
        self._reloader, self._triggers = self._reloading(options, loaded, look, stack)
        self._control = self._control_server(options, namespace, stack)
        self._people.begin(
            Doing(self._worker, self._amend, self._triggers.review, look, self._control.questions)
        )
        self._upkeep = Upkeep(
            self._loop,
            self._owners,
            self._queue,
            self._packets,
            (
                self._watchdog.alive,
                self._losses.note,
                self._clock_look.look,
                self._interfaces.forget,
                self._links.forget_routes,
                self._known.tick,
                self._triggers.tick,
                self._openings.tick,
                self._people.tick,
            ),
            lambda: self._engine.held_flows > 0,
        )

    def _listen_to_signals(self) -> None:
        self._loop.set_exception_handler(self._failed)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end)
        self._loop.add_signal_handler(signal.SIGUSR2, partial(self._end, keep_owners=True))

    def _recorded_owners(self, stack: ExitStack) -> OwnerStore:
        how = (self._socket_closed, self._proc_limit)
        store = owner_store(self._kept, *how, forward=self._forward)
        return stack.enter_context(closing(store))

    def _opened_queue(
        self, options: RunOptions, settings: Settings, ledger: Ledger, stack: ExitStack
    ) -> PacketQueue:
        how = (options.queue_num, settings, ledger.note_evaluated)
        return stack.enter_context(closing(PacketQueue(*how, forward=options.forward)))

    def _wired(self, stack: ExitStack) -> tuple[Worker, Callable[[], Iterator[LiveFlow | None]]]:
        parts = wiring.Parts(
            self._loop,
            self._engine,
            self._queue,
            self._owners,
            self._links,
            self._interfaces,
            self._known,
            self._clock,
            self._proc_limit,
            self._counters,
            self._tell_people,
            forward=self._forward,
        )
        return wiring.wired(parts, stack)

    def _reloading(
        self,
        options: RunOptions,
        loaded: Loaded,
        look: Callable[[], Iterator[LiveFlow | None]],
        stack: ExitStack,
    ) -> tuple[Reloader, ReloadTriggers]:
        review = FlowReview(look, self._worker.flow_reviewed, self._counters)
        reloader = Reloader(
            lambda: load_whole(options.rules),
            loaded,
            self._put_in_force,
            review.run,
            self._clock.now,
            self._counters,
            self._answers_now,
        )
        files = (options.rules, options.answers_file)
        heard = (self._people.file_changed, self._fail)
        triggers = ReloadTriggers(self._loop, reloader, files, *heard)
        stack.callback(triggers.close)
        return reloader, triggers

    def _control_server(
        self, options: RunOptions, namespace: int, stack: ExitStack
    ) -> ControlServer:
        path = options.socket or Path(socket_path(namespace))
        own = (self._status, self._end, self._reload, self._kept.listings)
        handlers = Handlers(*own, self._people.source, self._people.others)
        control = ControlSocket(path, options.group, options.answer_group)
        server = ControlServer(self._loop, control, handlers, self._counters)
        stack.callback(server.close)
        return server

    async def _reload(self) -> protocol.Reloaded:
        done = await self.reload()
        return protocol.Reloaded(done.generation, done.rules, done.cut_flows, done.problem)

    def _status(self) -> Status:
        began_s = self._loop.time()
        if began_s >= self._count_again_s:
            self._collect_counters()
            # Asking the kernel is dear, and watchers may ask: a tenth of the time at most.
            now_s = self._loop.time()
            self._count_again_s = now_s + 9 * (now_s - began_s)
        return status(self._parts, self._control.watchers)

    def _record(self, record: Record) -> None:
        self._records.add(record)
        self._control.record(record)
        self._people.record(record)

    def _tell_people(self, news: ShowQuestion | EndQuestion | TellMode) -> None:
        self._people.tell(news)
        self._upkeep.look_closely()

    def _answers(self, options: RunOptions) -> AnswerBook:
        book = AnswerBook(AnswersFile(options.answers_file), system_names(), is_running)
        book.refresh()
        return book

    def _answers_now(self) -> tuple[Rule, ...]:
        self._people.book.refresh()
        return self._people.book.rules()

    def _amend(self) -> None:
        self._reloader.amend(self._worker.rules_changed)
        self._records.plan()

    def _program_identified(self, ticket: int, identity: Identity) -> None:
        self._worker.program_identified(ticket, identity)
        self._records.plan()

    def _openings_watched(self, namespace: int) -> Openings:
        entry = self._owners.owner_of
        now, counters = self._clock.now, self._counters
        world = World(entry, self._record, now, namespace, counters, self._proc_limit)
        return Openings(self._programs, world)

    def _programs_known(self, options: RunOptions, stack: ExitStack) -> Programs:
        told = self._program_identified
        known = Programs(self._loop, options.state, self._record, told, self._counters)
        return stack.enter_context(closing(known))

    def _socket_closed(self, sock_cookie: int) -> None:
        self._worker.socket_closed(sock_cookie)

    def give_up_privileges(self) -> None:
        """Keep only those that are needed from here on; before the ruleset, to fail without it."""
        privileges.reduce(
            bpf=self._owners.needs_bpf(),
            children=self._enforcement.queueing is Queueing.IPTABLES,
        )

    def enforce(self) -> None:
        """Put the ruleset in force; from here on new flows wait for our verdict."""
        self._loop.add_reader(self._queue, self._packets)
        self._loop.add_reader(self._owners, self._upkeep.sockets_closed)
        self._openings.listen(self._loop, self._records.plan)
        self._openings.begin(self._engine.ruleset, self._engine.generation)
        self._losses.begin()
        self._enforcement.install()
        self._kept.stay = True  # whichever way this process ends, but for a clean stop
        self._control.start()
        self._upkeep.begin()

    def serve(self) -> None:
        """Handle packets until a signal says stop.

        A failure that nobody has foreseen ends the daemon as a crash would: with the ruleset in
        force, so that nothing leaves unjudged until the next start takes over.
        """
        self._loop.run_forever()
        self._has_ended = True
        if self._failure is not None:
            raise self._failure

    async def reload(self) -> Reloaded:
        """Read the rules again, put them in force, and cut what they refuse.

        Several who ask at once share one reload. A bad file changes nothing: see `Reloaded`.
        """
        return await self._reloader.reload()

    def _put_in_force(self, ruleset: Ruleset, generation: int) -> None:
        try:
            self._in_force.put(ruleset, generation)
        finally:
            self._loop.call_soon(self._packets)  # setting up the queue may have read some
        self._people.rules_in_force()
        self._records.plan()

    def stop(self) -> None:
        """Decide what is held or still queued, and remove the ruleset; the programs may go then."""
        self._triggers.close()
        self._worker.stop()
        # What is queued when a chain goes away, the kernel drops; so before that, and for what
        # came in between, after it.
        self._drain()
        self._watchdog.alive()
        self._losses.counters()  # the rules take theirs along
        self._enforcement.remove()
        self._drain()
        self._counters[Counter.ERRORS] += self._queue.drop_all() + self._queue.failed
        self._known.flush()
        if self._record_file:
            self._record_file.close()
        self._control.close()
        self._people.close()
        self._collect_counters()
        self._kept.stay = self._keep_owners

    def _drain(self) -> None:
        while self._queue.drain(self._packet):
            pass

    def counted(self) -> str:
        """Return every counter that is not zero, as people read it."""
        counters = self._counters
        return ", ".join(f"{name} {counters[name]}" for name in Counter if counters[name]) or "idle"

    def _collect_counters(self) -> None:
        """Take over what the kernel and the adapters have counted by themselves."""
        for name, number in (*self._losses.counters().items(), *self._owners.counters().items()):
            self._counters[name] = number
        self._counters[Counter.RECORDS_DROPPED] = self._records.dropped

    def _packet(self, packet: QueuedPacket) -> None:
        self._watchdog.alive()
        self._worker.packet_arrived(packet)

    def _packets(self) -> None:
        self._queue.drain(self._packet)
        if self._queue.has_read:
            self._loop.call_soon(self._packets)
        self._records.plan()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self._fail(context.get("exception") or RuntimeError(context["message"]))

    def _fail(self, problem: BaseException) -> None:
        self._failure = problem
        self._end()

    def _end(self, *, keep_owners: bool = False) -> None:
        """Have `serve` return; who asks again while all is being taken down stops nothing more."""
        self._keep_owners |= keep_owners
        if not self._has_ended:
            self._loop.stop()


def _check_rights() -> None:
    if os.geteuid() != 0:
        raise PermissionError("it needs root, for NFQUEUE, nftables and eBPF; use sudo")
    lacking = privileges.missing_at_start()
    if lacking:
        raise PermissionError(f"it lacks {privileges.named(lacking)}; start it with these")


def _say(text: str, stream: TextIO) -> None:
    with suppress(OSError):  # that nobody listens is no reason to do otherwise
        print(text, file=stream, flush=True)
