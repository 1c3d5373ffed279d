"""What earlier programs have recorded, taken over by those that replace them.

Both are attached meanwhile, the earlier ones first: what happens to a socket is recorded by both.
So an entry that the new ones have written themselves is newer than the one to be taken over.
"""

from __future__ import annotations

from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import is_released, with_history
from nfsnitch.adapters.bpf.map import BpfMap

_AT_ONCE = 64


def migrate(old: LoadedPrograms, new: LoadedPrograms) -> None:
    """Copy what *old* has recorded and *new* has not; the maps are of the same layout.

    Where there is no room, what *new* has recorded counts.

    Raises:
        OSError: the kernel refused to let a map be read.

    """
    # Before the owners that refer to them.
    _add_all(old.images, new.images)
    copied = _copy_owners(old.owners, new.owners)
    _add_all(old.flows, new.flows)
    _add_all(old.ports, new.ports)
    for entries in old.raw_sockets.batches(_AT_ONCE):
        for key, raw in entries:  # the earlier ones have counted what both have seen, too
            new.raw_sockets.put(key, raw)
    for key in copied:
        _follow(key, old.owners, new.owners)


def _add_all(old: BpfMap, new: BpfMap) -> None:
    for entries in old.batches(_AT_ONCE):
        for key, raw in entries:
            new.add(key, raw)


def _copy_owners(old: BpfMap, new: BpfMap) -> list[bytes]:
    copied: list[bytes] = []
    for entries in old.batches(_AT_ONCE):
        for key, raw in entries:
            if new.add(key, raw):
                copied.append(key)
                continue
            present = new.get(key)
            if present is not None:  # it has been used meanwhile, and seemed to be a new one
                new.put(key, with_history(present, raw))
    return copied


def _follow(key: bytes, old: BpfMap, new: BpfMap) -> None:
    """Catch up on a socket that was closed while its owner was being copied.

    The new programs may have found no owner then, and said nothing.
    """
    before, present = old.get(key), new.get(key)
    if before is None:
        new.remove(key)
    elif present is not None and is_released(before) and not is_released(present):
        new.put(key, before)
