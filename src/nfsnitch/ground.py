"""What of this machine the daemon stands on: made before anything is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

from nfsnitch.adapters.bpf.keeping import Kept
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.clock import Clock
from nfsnitch.adapters.interfaces import Interfaces
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.adapters.links import Links
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.rate_limit import TimeLimit, proc_limit
from nfsnitch.core.settings import Settings
from nfsnitch.keeping import kept_programs, owner_store
from nfsnitch.options import RunOptions


class Ground(NamedTuple):
    """The eBPF programs, the queue, and what is known of the network."""

    namespace: int
    """Inode number of the network namespace."""
    kept: Kept
    owners: OwnerStore
    ledger: Ledger
    queue: PacketQueue
    links: Links
    interfaces: Interfaces
    clock: Clock
    proc_limit: TimeLimit

    def now_ns(self) -> int:
        """Return the time of the monotonic clock."""
        return self.clock.monotonic_ns()


@contextmanager
def ground(
    options: RunOptions,
    namespace: int,
    settings: Settings,
    on_closed: Callable[[Sequence[int]], None],
) -> Iterator[Ground]:
    """Have it; *on_closed* is told the cookies of sockets that are closed.

    Raises:
        BpfError: the eBPF programs cannot be attached.
        QueueError: the queue cannot be had.

    """
    forward, limit = options.forward, proc_limit()
    with ExitStack() as stack:
        kept = stack.enter_context(kept_programs(options, namespace))
        store = owner_store(kept, on_closed, limit, forward=forward)
        owners = stack.enter_context(closing(store))
        ledger = stack.enter_context(closing(Ledger(namespace)))
        how = (options.queue_num, settings, ledger.note_evaluated)
        queue = stack.enter_context(closing(PacketQueue(*how, forward=forward)))
        links = stack.enter_context(closing(Links()))
        seen = (kept, owners, ledger, queue, links)
        yield Ground(namespace, *seen, Interfaces(), Clock(), limit)
