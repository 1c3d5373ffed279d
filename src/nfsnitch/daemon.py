"""The daemon: with `wiring`, the only place that wires the core to its adapters.

What it owns lives exactly as long as `run`: the instance lock, the eBPF programs, the queue, the
ruleset. They are set up in that order, so that the ruleset, which is what makes packets depend on
us, comes last; and a clean stop takes it away first.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TextIO

from nfsnitch import protocol, wiring
from nfsnitch.adapters import netns, privileges
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.control_socket import ControlSocketError
from nfsnitch.adapters.enforcement import EnforcementError
from nfsnitch.adapters.instance import AlreadyRunningError, InstanceLock
from nfsnitch.adapters.losses import Losses
from nfsnitch.adapters.nfqueue import QueueError
from nfsnitch.adapters.sd_notify import notify
from nfsnitch.adapters.watchdog import Watchdog
from nfsnitch.asking.names import NameListing
from nfsnitch.asking.people import Doing, People
from nfsnitch.cached_flows import CachedFlows, Recorder
from nfsnitch.core.alike import Alike
from nfsnitch.core.commands import EndQuestion, ShowQuestion, TellMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.identity import Identity
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.ground import ground
from nfsnitch.in_force import InForce
from nfsnitch.intake import Intake
from nfsnitch.large import settle_down
from nfsnitch.lean import keep_little_memory
from nfsnitch.list_keeping import ListKeeping, Where
from nfsnitch.options import RunOptions
from nfsnitch.programs import Programs
from nfsnitch.reload import Loaded, Reloaded, Reloader, RulesRefusedError, load_first, load_whole
from nfsnitch.review import FlowReview
from nfsnitch.running import Running
from nfsnitch.serving import Doings, Other, Serving
from nfsnitch.status import Parts
from nfsnitch.triggers import ReloadTriggers
from nfsnitch.upkeep import ClockLook, Upkeep
from nfsnitch.worker import Worker

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
        self._running = Running(self._loop)
        settings = loaded.ruleset.settings
        how = (options, namespace, settings, self._sockets_closed)
        self._ground = stack.enter_context(ground(*how))
        self._records = wiring.record_writer(options, self._loop, stack)
        self._known = self._programs_known(options, stack)
        self._hearing = wiring.hearing(self._ground, settings, self._counters, stack)
        book = wiring.answer_book(options)
        loaded = loaded._replace(ruleset=loaded.ruleset.with_answers(book.rules()))
        self._engine = Engine(loaded.ruleset, namespace, wiring.readers())
        self._people = People(self._engine, book, self._ground.clock.now)
        self._cached = stack.enter_context(closing(CachedFlows(self._ground)))
        self._worker, look = self._wired(options, stack)
        self._enforcement = wiring.enforcement(options, loaded.ruleset, stack)
        self._engine.kernel_answers = options.cache and self._cached.ask_for(self._enforcement)
        self._openings = wiring.openings(self._ground, self._record, self._counters, stack)
        putting = (self._enforcement, self._ground.queue, self._openings, self._worker)
        self._in_force = InForce(self._engine, *putting)
        self._losses = Losses(self._enforcement, self._ground.queue, self._ground.ledger)
        self._clock_look = ClockLook(self._ground.clock.now, self._counters)
        self._watchdog = Watchdog(settings.hang_timeout_ns)
        stack.callback(self._watchdog.stop)
        taking = (self._worker, self._watchdog.alive, self._records.plan)
        self._intake = Intake(self._loop, self._ground.queue, *taking)
        self._reloader, self._triggers = self._reloading(options, loaded, look, stack)
        self._lists = self._lists_used(options, loaded.ruleset, stack)
        self._serving = self._serving_clients(options, stack)
        self._people.begin(
            Doing(
                *(self._worker, self._amend, self._triggers.review, look),
                *(self._serving.questions, self._hearing.names_of),
            )
        )
        self._upkeep = self._kept_up()

    def _programs_known(self, options: RunOptions, stack: ExitStack) -> Programs:
        told = self._program_identified
        writing = self._record, self._record_alike
        known = Programs(self._loop, options.state, *writing, told, self._counters)
        return stack.enter_context(closing(known))

    def _wired(
        self, options: RunOptions, stack: ExitStack
    ) -> tuple[Worker, Callable[[], Iterator[LiveFlow | None]]]:
        parts = wiring.Parts(
            self._loop,
            self._ground,
            self._engine,
            self._known,
            self._counters,
            self._tell_people,
            self._hearing.names_of,
            self._cached,
            forward=options.forward,
        )
        return wiring.wired(parts, stack)

    def _reloading(
        self,
        options: RunOptions,
        loaded: Loaded,
        look: Callable[[], Iterator[LiveFlow | None]],
        stack: ExitStack,
    ) -> tuple[Reloader, ReloadTriggers]:
        packets = self._intake.look
        review = FlowReview(look, self._worker.flow_reviewed, self._counters, packets)
        reloader = Reloader(
            lambda: load_whole(options.rules),
            loaded,
            self._put_in_force,
            review.run,
            self._ground.clock.now,
            self._counters,
            self._answers_now,
        )
        files = (options.rules, options.answers_file)
        heard = (self._people.file_changed, self._running.fail)
        triggers = ReloadTriggers(self._loop, reloader, files, *heard)
        stack.callback(triggers.close)
        return reloader, triggers

    def _lists_used(self, options: RunOptions, ruleset: Ruleset, stack: ExitStack) -> ListKeeping:
        where = Where(
            *(options.state, self._loop, self._counters), self._lists_changed, self._engine.own
        )
        lists = stack.enter_context(closing(ListKeeping(where)))
        lists.use(ruleset.lists)
        return lists

    def _lists_changed(self) -> None:
        self._cached.withdraw()
        self._triggers.apply_again()

    def _serving_clients(self, options: RunOptions, stack: ExitStack) -> Serving:
        parts = Parts(
            options,
            self._ground,
            time.monotonic(),
            self._engine,
            self._enforcement,
            self._counters,
            self._people,
            lambda: len(self._hearing.known),
        )
        listing = NameListing(self._hearing.known, self._ground.now_ns)
        others: dict[type[protocol.Request], Other] = {
            protocol.NamesRequest: listing.reply,
            **self._lists.others,
        }
        doings = Doings(self._running.end, self.reload, self._collect_counters, others)
        return Serving(self._loop, parts, doings, stack)

    def _kept_up(self) -> Upkeep:
        each_second = (
            self._watchdog.alive,
            self._losses.note,
            self._clock_look.look,
            self._ground.interfaces.forget,
            self._ground.links.forget_routes,
            self._known.tick,
            self._hearing.listen,
            self._triggers.tick,
            self._openings.tick,
            self._people.tick,
        )
        return Upkeep(
            self._loop,
            self._ground.owners,
            self._ground.queue,
            self._hearing.before(self._intake.look),
            each_second,
            lambda: self._engine.held_flows > 0,
            self._cached.hear_some,
        )

    def _record(self, record: Record) -> None:
        self._records.add(record)
        self._serving.record(record)

    def _record_alike(self, records: Sequence[Alike]) -> None:
        self._records.add_alike(records)
        self._serving.record_alike(records)

    def _tell_people(self, news: ShowQuestion | EndQuestion | TellMode) -> None:
        self._people.tell(news)
        self._upkeep.look_closely()

    def _answers_now(self) -> tuple[Rule, ...]:
        self._people.book.refresh()
        return self._people.book.rules()

    def _amend(self) -> None:
        self._reloader.amend(self._in_force.amend)
        self._records.plan()

    def _program_identified(self, ticket: int, identity: Identity) -> None:
        self._worker.program_identified(ticket, identity)
        self._records.plan()

    def _sockets_closed(self, sock_cookies: Sequence[int]) -> None:
        self._worker.sockets_closed(sock_cookies)

    def _put_in_force(self, ruleset: Ruleset, generation: int) -> None:
        self._lists.use(ruleset.lists)
        try:
            self._in_force.put(ruleset, generation)
        finally:
            self._lists.use(self._engine.ruleset.lists)  # perhaps the rules were refused
            self._loop.call_soon(self._intake.look)  # setting up the queue may have read some
        self._hearing.use(ruleset.settings)
        self._people.rules_in_force()
        self._records.plan()

    def give_up_privileges(self) -> None:
        """Keep only those that are needed from here on; before the ruleset, to fail without it."""
        privileges.reduce(bpf=self._ground.owners.needs_bpf())

    def enforce(self) -> None:
        """Put the ruleset in force; from here on new flows wait for our verdict."""
        self._loop.add_reader(self._ground.queue, self._intake.linger)
        self._loop.add_reader(self._ground.owners, self._upkeep.sockets_closed)
        self._loop.add_reader(self._hearing, self._hearing.listen)
        self._openings.listen(self._loop, self._records.plan)
        self._openings.begin(self._engine.ruleset, self._engine.generation)
        self._cached.rules_changed(self._engine.ruleset, self._engine.generation)
        recorder = Recorder(
            *(self._worker.record_of, self._hearing.names_of),
            *(self._known.record_alike, self._records.plan),
        )
        self._cached.begin(self._loop, recorder)
        self._losses.begin()
        self._known.prepare()
        settle_down()
        self._enforcement.install()
        self._ground.kept.stay = True  # whichever way this process ends, but for a clean stop
        self._serving.start()
        self._upkeep.begin()

    def serve(self) -> None:
        """Handle packets until a signal says stop.

        A failure that nobody has foreseen ends the daemon as a crash would: with the ruleset in
        force, so that nothing leaves unjudged until the next start takes over.
        """
        self._running.serve()

    async def reload(self) -> Reloaded:
        """Read the rules again, put them in force, and cut what they refuse.

        Several who ask at once share one reload. A bad file changes nothing: see `Reloaded`.
        """
        return await self._reloader.reload()

    def stop(self) -> None:
        """Decide what is held or still queued, and remove the ruleset; the programs may go then."""
        self._triggers.close()
        self._worker.stop()
        # What is queued when a chain goes away, the kernel drops; so before that, and for what
        # came in between, after it.
        self._intake.empty()
        self._watchdog.alive()
        self._losses.counters()  # the rules take theirs along
        self._enforcement.remove()
        self._cached.withdraw()  # the programs may stay, and the maps with them
        self._cached.hear_all()
        self._intake.empty()
        self._openings.hear_all()
        self._counters[Counter.ERRORS] += self._ground.queue.drop_all() + self._ground.queue.failed
        self._known.flush()
        self._records.close()
        self._serving.close()
        self._people.close()
        self._collect_counters()
        self._ground.kept.stay = self._running.keep_owners

    def counted(self) -> str:
        """Return every counter that is not zero, as people read it."""
        counters = self._counters
        return ", ".join(f"{name} {counters[name]}" for name in Counter if counters[name]) or "idle"

    def _collect_counters(self) -> None:
        """Take over what the kernel and the adapters have counted by themselves."""
        for counted in (self._losses.counters(), self._ground.owners.counters()):
            for name, number in counted.items():
                self._counters[name] = number
        self._counters[Counter.RECORDS_DROPPED] = self._records.dropped


def _check_rights() -> None:
    if os.geteuid() != 0:
        raise PermissionError("it needs root, for NFQUEUE, nftables and eBPF; use sudo")
    lacking = privileges.missing_at_start()
    if lacking:
        raise PermissionError(f"it lacks {privileges.named(lacking)}; start it with these")


def _say(text: str, stream: TextIO) -> None:
    with suppress(OSError):  # that nobody listens is no reason to do otherwise
        print(text, file=stream, flush=True)
