"""Who owns which socket, from files that list the maps (`readers.py`); takes no privilege."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from nfsnitch.adapters.bpf.layout import COOKIE, Image, ImageKey, OwnerEntry
from nfsnitch.adapters.bpf.readers import rows
from nfsnitch.core.owner import Ancestor, Executable, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

_MAX_ANCESTORS = 16
_NO_IMAGE = Unknown("its entry is missing: the map of processes was full")
_NO_EXE = Executable(_NO_IMAGE, _NO_IMAGE, _NO_IMAGE)


class OwnedSocket(NamedTuple):
    """An open socket and its owner."""

    cookie: int
    created_ns: int
    """Monotonic; when it was first seen."""
    owner: Process


def open_sockets(owners: BinaryIO, images: BinaryIO) -> Iterator[OwnedSocket]:
    """Yield all open sockets with a recorded owner, by process.

    A program's path is given as it is in its own mount namespace.

    Raises:
        OtherLayoutError, OSError: see `readers.rows`.

    """
    entries: list[tuple[int, OwnerEntry]] = []
    for key, raw in rows(owners, "owners"):
        entry = OwnerEntry.unpacked(raw)
        if not entry.released_ns:
            (cookie,) = COOKIE.unpack(key)
            entries.append((cookie, entry))
    known = {key: Image.unpacked(raw) for key, raw in rows(images, "images")}
    entries.sort(key=lambda each: (ImageKey.unpacked(each[1].image_key).pid, each[0]))
    for cookie, entry in entries:
        yield OwnedSocket(cookie, entry.created_ns, _process(entry, known))


def _process(entry: OwnerEntry, known: dict[bytes, Image]) -> Process:
    key = ImageKey.unpacked(entry.image_key)
    image = known.get(entry.image_key)
    return Process(
        pid=key.pid,
        tid=entry.tid,
        start_time_ns=key.start_ns,
        uid=entry.uid,
        gid=entry.gid,
        exe=_executable(image),
        args=image.args if image else _NO_IMAGE,
        comm=decoded(entry.comm.split(b"\0", 1)[0]),
        parents=tuple(_ancestors(image, known)),
        cgroup_id=key.cgroup_id or Unknown("the process is in no cgroup v2"),
        cgroup=image.cgroup if image else _NO_IMAGE,
        netns=entry.netns,
    )


def _ancestors(image: Image | None, known: dict[bytes, Image]) -> Iterator[Ancestor]:
    for _ in range(_MAX_ANCESTORS):
        key = ImageKey.unpacked(image.parent) if image else None
        if image is None or key is None or not key.pid:
            return
        image = known.get(image.parent)
        yield Ancestor(key.pid, key.start_ns, _executable(image))


def _executable(image: Image | None) -> Executable:
    if image is None:
        return _NO_EXE
    return Executable(image.exe, image.exe_device, image.exe_inode, image.exe_deleted)
