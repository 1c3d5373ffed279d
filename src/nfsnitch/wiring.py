"""Puts parts of the daemon together from what they need; an `ExitStack` takes them down again."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

from nfsnitch.adapters import netns
from nfsnitch.adapters.answers_file import AnswersFile
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.bpf.name_samples import NameSamples
from nfsnitch.adapters.bypass_sockets import BypassSockets
from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.cutting import Cutting
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.adapters.forwarding import ForwardedAttributor
from nfsnitch.adapters.live_flows import LiveFlows
from nfsnitch.adapters.own_packets import OwnPackets
from nfsnitch.adapters.procfs import is_running
from nfsnitch.adapters.quic_cipher import QuicCipher
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.adapters.rulefile import system_names
from nfsnitch.adapters.sock_destroy import SockDestroy
from nfsnitch.adapters.sock_diag import SockDiag
from nfsnitch.adapters.working_directory import WorkingDirectories
from nfsnitch.asking.book import AnswerBook
from nfsnitch.cached_flows import CachedFlows
from nfsnitch.core.commands import EndQuestion, ShowQuestion, TellMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import LiveFlow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import Owner
from nfsnitch.core.packet import Malformed
from nfsnitch.core.question_refusal import Readers
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Settings
from nfsnitch.ground import Ground
from nfsnitch.hearing import Hearing
from nfsnitch.naming.messages import read_question
from nfsnitch.openings import Openings, World
from nfsnitch.options import RunOptions
from nfsnitch.programs import Programs
from nfsnitch.upkeep import RecordWriter, call_at
from nfsnitch.worker import Ports, Worker

_log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What there is already."""

    loop: asyncio.AbstractEventLoop
    ground: Ground
    engine: Engine
    known: Programs
    counters: collections.Counter[Counter]
    tell_people: Callable[[ShowQuestion | EndQuestion | TellMode], None]
    names_of: Callable[[Owner, bytes], Names]
    cached: CachedFlows
    forward: bool


def readers() -> Readers:
    """Return what reads the data of packets."""
    return Readers(QuicCipher(), _host_asked_for)


def _host_asked_for(message: bytes) -> str | Malformed:
    question = read_question(message)
    return question if isinstance(question, Malformed) else question.host


def wired(parts: Parts, stack: ExitStack) -> tuple[Worker, Callable[[], Iterator[LiveFlow | None]]]:
    """Return what lies between a packet and its verdict, and what lists the flows under way."""
    ground, queue = parts.ground, parts.ground.queue
    settings = parts.engine.ruleset.settings
    labels = (settings.label, settings.cut_label, settings.name_label)
    conntrack = stack.enter_context(closing(Conntrack(*labels)))
    own = stack.enter_context(closing(OwnPackets()))
    sock_diag = stack.enter_context(closing(SockDiag()))
    if ground.owners.needs_cookies:
        sock_diag.give_cookies()
    sock_destroy = stack.enter_context(closing(SockDestroy(sock_diag)))
    if sock_destroy.problem is not None:
        _log.warning("refused connections are cut without a reset: %s", sock_destroy.problem)
    here = netns.cookie()
    limits = (lambda: queue.empty_ns, ground.proc_limit, parts.counters)
    attributor = Attributor(ground.owners, sock_diag, here, *limits)
    forwarded = ForwardedAttributor(
        ground.owners, ground.links, here, *limits, lambda: queue.tells_conntrack
    )
    ports = Ports(
        give_verdict=queue.give_verdict,
        find_owner=attributor.find,
        find_forwarded=forwarded.find,
        iface_name=ground.interfaces.name_of,
        write_record=parts.known.record,
        tell_people=parts.tell_people,
        trust=conntrack.trust,
        distrust=conntrack.distrust,
        judge=conntrack.judge,
        cut=Cutting(conntrack, sock_destroy).cut,
        wake_at=partial(call_at, parts.loop),
        now=ground.clock.now,
        release=conntrack.release,
        deny_name=own.deny_name,
        reset_peer=own.reset_peer,
        is_ours=own.is_ours,
        cwd_of=WorkingDirectories().of,
        identified=parts.known.identified,
        names_of=parts.names_of,
        repeat=parts.cached.add,
        repeat_none=parts.cached.rules_changed,
    )
    live = LiveFlows(
        attributor,
        ground.interfaces.name_of,
        lambda: parts.engine.ruleset.settings,
        forwarded if parts.forward else None,
    )
    return Worker(parts.engine, ports, parts.counters), live.look


def record_writer(
    options: RunOptions, loop: asyncio.AbstractEventLoop, stack: ExitStack
) -> RecordWriter:
    """Return what writes records, if somebody wants them written."""
    file = RecordFile(options.records) if options.records else None
    return stack.enter_context(closing(RecordWriter(loop, file)))


def answer_book(options: RunOptions) -> AnswerBook:
    """Return the rules that answers have made, as they are now."""
    book = AnswerBook(AnswersFile(options.answers_file), system_names(), is_running)
    book.refresh()
    return book


def enforcement(options: RunOptions, ruleset: Ruleset, stack: ExitStack) -> Enforcement:
    """Return what puts the kernel's rules in force; they are not yet."""
    how = (options.queue_num, ruleset.settings)
    prepared = Enforcement(*how, forward=options.forward, seeing=ruleset.seeing)
    return stack.enter_context(closing(prepared))


def hearing(
    ground: Ground, settings: Settings, counters: collections.Counter[Counter], stack: ExitStack
) -> Hearing:
    """Return what hears of names."""
    samples = NameSamples(ground.kept.programs, ground.owners.owner_of)
    where = (ground.owners, ground.namespace)
    heard = Hearing(samples, *where, settings, ground.clock.monotonic_ns, counters)
    return stack.enter_context(closing(heard))


def openings(
    ground: Ground,
    record: Callable[[Record], None],
    counters: collections.Counter[Counter],
    stack: ExitStack,
) -> Openings:
    """Return what watches packet sockets."""
    how = (ground.clock.now, ground.namespace, counters, ground.proc_limit)
    sockets = stack.enter_context(closing(BypassSockets()))
    world = World(ground.owners.owner_of, record, *how, sockets.by_inode)
    return stack.enter_context(closing(Openings(ground.kept.programs, world)))
