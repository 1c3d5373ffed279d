"""The eBPF programs as the daemon has them: kept for the next one, and read for owners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nfsnitch.adapters import netns
from nfsnitch.adapters.bpf import bpffs
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.keeping import Kept, Place, Wish, kept
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.bpf.pins import PinFolder
from nfsnitch.adapters.bpf.readers import pin_readers
from nfsnitch.adapters.control_socket import gid_of
from nfsnitch.adapters.forwarding import LATE_NS
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.options import RunOptions
from nfsnitch.resources import bpf_object, readers_object

_log = logging.getLogger(__name__)


@contextmanager
def kept_programs(options: RunOptions, namespace: int) -> Iterator[Kept]:
    """Have the programs attached, and pinned for the network namespace with this inode number.

    Raises:
        BpfError: see `keeping.kept`.

    """
    how = (options.attach, options.loader, options.forward)
    wish = Wish(bpf_object(), options.cgroup, *how)
    place = Place(bpffs.PINS / bpffs.folder_name(namespace), netns.cookie())
    with kept(wish, place) as held:
        _log.info("attach mode %s: %s", held.programs.mode, held.programs.why)
        if held.programs.dns_problem is not None:
            _log.warning("names asked for by DNS are not seen: %s", held.programs.dns_problem)
        if held.programs.libc_problem is not None:
            _log.info("names that the C library finds are not seen: %s", held.programs.libc_problem)
        if held.folder is None:
            _log.warning("owners are forgotten when this process ends: %s", held.origin)
        else:
            _log.info("eBPF programs: %s", held.origin)
            _pin_readers(held.folder, held.programs, gid_of(options.group))
        yield held


def _pin_readers(folder: PinFolder, programs: LoadedPrograms, gid: int | None) -> None:
    try:
        pin_readers(folder, programs, readers_object(), gid)
    except (BpfError, OSError) as problem:
        _log.warning("owners cannot be listed (nfsnitch owners): %s", problem)


def owner_store(
    held: Kept, on_closed: Callable[[Sequence[int]], None], proc_limit: TimeLimit, *, forward: bool
) -> OwnerStore:
    """Return what reads the owners; of what was taken over, too, what is to be removed soon."""
    store = OwnerStore(held.programs, on_closed, proc_limit)
    if forward:
        store.keep_late(LATE_NS)
    if held.taken_over:
        store.take_over()
    return store
