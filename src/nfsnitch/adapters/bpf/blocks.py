"""Ring buffers whose samples have one size, read many at a time.

libbpf calls back for each sample, and from C into Python that takes longer than all that is done
with it. Here the buffer is mapped as libbpf does (kernel/bpf/ringbuf.c): a page that says how far
we have read; one that says how far the kernel has reserved room; and the data, twice in a row, so
that no sample has a seam. Before each sample are eight bytes that say how long it is, and whether
the kernel still writes to it.

The order of memory accesses is the processor's: x86-64 keeps loads in the order of the program, and
makes no store visible before an earlier load is done. So what is read after a sample's length is
what the kernel had written before that, and it is read before the kernel hears that the room is
free. Each of these numbers is read and written at once, as memoryview copies an item of its own
format. Where either is not certain, libbpf reads.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf, RingBuffer

HEADER_BYTES = 8
"""Before each sample in a block."""

_BUSY = 1 << 31
_KEEPS_ORDER = frozenset({"x86_64"})

Block = bytes | memoryview


class Blocks(Protocol):
    """The reading end of such a ring buffer."""

    def fileno(self) -> int:
        """Return the descriptor that polls readable when the kernel wants to be read."""

    def look(self, most: int) -> Block:
        """Return the oldest samples, *most* at most, each behind `HEADER_BYTES` that say nothing.

        They stay there, and the block with them, until they are `taken`.
        """

    def taken(self, number: int) -> None:
        """Give up the oldest *number* of those that were looked at."""

    def close(self) -> None:
        """Let go of the ring buffer's memory."""


def blocks(library: Libbpf, map_fd: int, sample_bytes: int) -> Blocks:
    """Open a ring buffer whose samples have *sample_bytes*, a multiple of eight."""
    if platform.machine() in _KEEPS_ORDER:
        return MappedBlocks(map_fd, _size_of(map_fd), sample_bytes)
    return CalledBlocks(library, map_fd)


class MappedBlocks:
    """Reads the mapped memory itself."""

    def __init__(self, map_fd: int, size: int, sample_bytes: int) -> None:
        """*size* is that of the data, in bytes: a power of two."""
        self._fd, self._size = map_fd, size
        self._sample_bytes, self._step = sample_bytes, HEADER_BYTES + sample_bytes
        page = mmap.PAGESIZE
        rest = page + 2 * self._size
        self._maps = (
            mmap.mmap(map_fd, page),
            mmap.mmap(map_fd, rest, prot=mmap.PROT_READ, offset=page),
        )
        self._read, written = (memoryview(each).cast("Q") for each in self._maps)
        self._written = written[:1]
        self._data = memoryview(self._maps[1])[page:]
        self._lengths = self._data.cast("I")

    def fileno(self) -> int:
        """Return the map's own descriptor."""
        return self._fd

    def look(self, most: int) -> Block:
        """Return what is there up to the first sample that is being written."""
        read = self._read[0]
        number = min((self._written[0] - read) // self._step, most)
        if not number:
            return b""
        at = read & (self._size - 1)
        end = at + number * self._step
        lengths = self._lengths[at // 4 : end // 4 : self._step // 4].tolist()
        if lengths.count(self._sample_bytes) != number:
            end = at + self._whole(lengths) * self._step
        return self._data[at:end]

    def _whole(self, lengths: list[int]) -> int:
        for at, length in enumerate(lengths):
            if length & _BUSY:
                return at
            if length != self._sample_bytes:
                raise BpfError(f"a sample has {length} bytes and not {self._sample_bytes}")
        return len(lengths)

    def taken(self, number: int) -> None:
        """Let the kernel use the room of so many samples again."""
        self._read[0] += number * self._step

    def close(self) -> None:
        """Unmap it, as soon as nobody has a block of it any more."""
        for view in (self._read, self._written, self._lengths, self._data):
            view.release()
        for each in self._maps:
            with suppress(BufferError):
                each.close()


class CalledBlocks:
    """Has libbpf read, and keeps what it has read."""

    def __init__(self, library: Libbpf, map_fd: int) -> None:
        self._samples: list[bytes] = []
        self._ring = RingBuffer(library, map_fd, self._heard)

    def _heard(self, address: int, size: int) -> None:
        self._samples.append(bytes(HEADER_BYTES) + ctypes.string_at(address, size))

    def fileno(self) -> int:
        """Return the descriptor of libbpf's."""
        return self._ring.fileno()

    def look(self, most: int) -> Block:
        """Return what was read, and read when there is none of it left."""
        if not self._samples:
            self._ring.consume()
        return b"".join(self._samples[:most])

    def taken(self, number: int) -> None:
        """Forget the oldest."""
        del self._samples[:number]

    def close(self) -> None:
        """Close it at libbpf's."""
        self._ring.close()


def _size_of(map_fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{map_fd}").read_text("ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "max_entries":
            return int(value)
    raise BpfError("the kernel does not tell how large a ring buffer is")
