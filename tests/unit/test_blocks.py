"""Ring buffers read in blocks: all that is written, in its order, and nothing half written."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import closing
from struct import Struct

import pytest

from nfsnitch.adapters.bpf.blocks import HEADER_BYTES, MappedBlocks
from nfsnitch.adapters.bpf.libbpf import BpfError

SIZE = mmap.PAGESIZE
SAMPLE_BYTES = 16
STEP = HEADER_BYTES + SAMPLE_BYTES
NUMBER = Struct("=Q")
HEADER = Struct("=II")
SAMPLE = Struct(f"={HEADER_BYTES}xQ8x")
BUSY = 1 << 31
ROOM = SIZE // STEP


class Kernel:
    """The kernel's end of such a ring buffer, in a file that is mapped."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.truncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self._written = 0

    def write(self, number: int, length: int = SAMPLE_BYTES) -> int:
        """Write a sample, and return where it is."""
        at = self._written
        sample = HEADER.pack(length, 7) + NUMBER.pack(number) + bytes(8)
        for offset, byte in enumerate(sample):
            self._put((at + offset) % SIZE, bytes((byte,)))
        self._written += STEP
        os.pwrite(self.fd, NUMBER.pack(self._written), mmap.PAGESIZE)
        return at

    def done(self, at: int) -> None:
        """Let a sample be read that was busy."""
        self._put(at % SIZE, HEADER.pack(SAMPLE_BYTES, 7))

    @property
    def free(self) -> int:
        """How many bytes there is room for."""
        (read,) = NUMBER.unpack(os.pread(self.fd, NUMBER.size, 0))
        return SIZE - (self._written - int(read))

    def _put(self, at: int, what: bytes) -> None:
        for copy in (0, SIZE):  # the kernel maps the same pages twice
            os.pwrite(self.fd, what, 2 * mmap.PAGESIZE + copy + at)


@pytest.fixture(name="kernel")
def fixture_kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    os.close(kernel.fd)


@pytest.fixture(name="ring")
def fixture_ring(kernel: Kernel) -> Iterator[MappedBlocks]:
    with closing(MappedBlocks(kernel.fd, SIZE, SAMPLE_BYTES)) as ring:
        yield ring


def numbers(ring: MappedBlocks, most: int = 1_000) -> list[int]:
    return [number for (number,) in SAMPLE.iter_unpack(ring.look(most))]


def test_what_was_written_is_read_in_its_order_and_stays_until_it_is_taken(
    kernel: Kernel, ring: MappedBlocks
) -> None:
    for number in range(5):
        kernel.write(number)

    assert numbers(ring, 2) == [0, 1]
    assert numbers(ring) == [0, 1, 2, 3, 4]
    ring.taken(2)
    assert numbers(ring) == [2, 3, 4]
    assert kernel.free == SIZE - 3 * STEP


def test_nothing_is_read_from_one_on_that_the_kernel_still_writes(
    kernel: Kernel, ring: MappedBlocks
) -> None:
    kernel.write(0)
    at = kernel.write(1, BUSY | SAMPLE_BYTES)
    kernel.write(2)

    assert numbers(ring) == [0]
    kernel.done(at)
    assert numbers(ring) == [0, 1, 2]


def test_a_sample_that_goes_over_the_end_is_whole(kernel: Kernel, ring: MappedBlocks) -> None:
    assert SIZE % STEP
    for number in range(5 * ROOM):
        kernel.write(number)
        if number % ROOM == ROOM - 1:
            assert numbers(ring) == list(range(number - ROOM + 1, number + 1))
            ring.taken(ROOM)

    assert numbers(ring) == []
    assert kernel.free == SIZE


def test_samples_of_another_size_are_an_error(kernel: Kernel, ring: MappedBlocks) -> None:
    kernel.write(0, SAMPLE_BYTES + 8)

    with pytest.raises(BpfError, match="24 bytes and not 16"):
        ring.look(1)


def test_it_is_unmapped_when_it_is_closed(kernel: Kernel) -> None:
    ring = MappedBlocks(kernel.fd, SIZE, SAMPLE_BYTES)
    kernel.write(0)
    assert numbers(ring) == [0]
    ring.close()

    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
        assert "memfd:ring" not in maps.read()
