"""What lies between a packet and its verdict, put together: attribution, conntrack, the worker."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

from nfsnitch.adapters import netns
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.clock import Clock
from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.cutting import Cutting
from nfsnitch.adapters.forwarding import ForwardedAttributor
from nfsnitch.adapters.interfaces import Interfaces
from nfsnitch.adapters.links import Links
from nfsnitch.adapters.live_flows import LiveFlows
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.sock_destroy import SockDestroy
from nfsnitch.adapters.sock_diag import SockDiag
from nfsnitch.adapters.working_directory import WorkingDirectories
from nfsnitch.core.commands import EndQuestion, ShowQuestion, TellMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import LiveFlow
from nfsnitch.programs import Programs
from nfsnitch.upkeep import call_at
from nfsnitch.worker import Ports, Worker

_log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What there is already."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    queue: PacketQueue
    owners: OwnerStore
    links: Links
    interfaces: Interfaces
    known: Programs
    clock: Clock
    proc_limit: TimeLimit
    counters: collections.Counter[Counter]
    tell_people: Callable[[ShowQuestion | EndQuestion | TellMode], None]
    forward: bool


def wired(parts: Parts, stack: ExitStack) -> tuple[Worker, Callable[[], Iterator[LiveFlow | None]]]:
    """Return the worker, and what lists the flows under way; *stack* takes them down again."""
    settings, queue = parts.engine.ruleset.settings, parts.queue
    conntrack = stack.enter_context(closing(Conntrack(settings.label, settings.cut_label)))
    sock_diag = stack.enter_context(closing(SockDiag()))
    if parts.owners.needs_cookies:
        sock_diag.give_cookies()
    sock_destroy = stack.enter_context(closing(SockDestroy(sock_diag)))
    if sock_destroy.problem is not None:
        _log.warning("refused connections are cut without a reset: %s", sock_destroy.problem)
    here = netns.cookie()
    limits = (lambda: queue.empty_ns, parts.proc_limit, parts.counters)
    attributor = Attributor(parts.owners, sock_diag, here, *limits)
    forwarded = ForwardedAttributor(
        parts.owners, parts.links, here, *limits, lambda: queue.tells_conntrack
    )
    ports = Ports(
        give_verdict=queue.give_verdict,
        find_owner=attributor.find,
        find_forwarded=forwarded.find,
        iface_name=parts.interfaces.name_of,
        write_record=parts.known.record,
        tell_people=parts.tell_people,
        trust=conntrack.trust,
        distrust=conntrack.distrust,
        judge=conntrack.judge,
        cut=Cutting(conntrack, sock_destroy).cut,
        wake_at=partial(call_at, parts.loop),
        now=parts.clock.now,
        cwd_of=WorkingDirectories().of,
        identified=parts.known.identified,
    )
    live = LiveFlows(
        attributor,
        parts.interfaces.name_of,
        lambda: parts.engine.ruleset.settings,
        forwarded if parts.forward else None,
    )
    return Worker(parts.engine, ports, parts.counters), live.look
