"""One BPF hash or array map, as bytes in and bytes out."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence

from nfsnitch.adapters.bpf.libbpf import BPF_ANY, BPF_NOEXIST, Libbpf


class BpfMap:
    """A map by its descriptor. Not for several threads: the buffers are used again."""

    def __init__(self, library: Libbpf, fd: int, key_bytes: int, value_bytes: int) -> None:
        self._fd = fd
        self._key_bytes = key_bytes
        self._value_bytes = value_bytes
        self._value = ctypes.create_string_buffer(value_bytes)
        self._value_address = ctypes.addressof(self._value)
        self._lookup = library.quick("bpf_map_lookup_elem")
        self._update = library.quick("bpf_map_update_elem")
        self._delete = library.quick("bpf_map_delete_elem")
        self._next_key = library.function("bpf_map_get_next_key")
        self._delete_batch = library.quick("bpf_map_delete_batch")
        self._lookup_batch = library.function("bpf_map_lookup_batch")

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def get(self, key: bytes) -> bytes | None:
        """Return the value under *key*, None if there is none."""
        if self._lookup(self._fd, key, self._value_address) < 0:
            return None
        return self._value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace an entry.

        Raises:
            OSError: the kernel refused (E2BIG: the map is full).

        """
        if len(key) != self._key_bytes or len(value) != self._value_bytes:
            raise ValueError(f"{len(key)} and {len(value)} bytes do not fit this map")
        if self._update(self._fd, key, value, BPF_ANY) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def add(self, key: bytes, value: bytes) -> bool:
        """Add an entry; False if there is one under *key* already, or no room."""
        return bool(self._update(self._fd, key, value, BPF_NOEXIST) == 0)

    def remove(self, key: bytes) -> bool:
        """Remove an entry; False if there was none."""
        return bool(self._delete(self._fd, key) == 0)

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """Remove these entries of a hash map; those that are not there do not matter.

        By BPF_MAP_DELETE_BATCH (Linux 5.6), which stops where there is none.
        """
        done = 0
        while done < len(keys):
            count = ctypes.c_uint32(len(keys) - done)
            some = b"".join(keys[done:])
            if self._delete_batch(self._fd, some, ctypes.addressof(count), None) == 0:
                return
            done += count.value + 1

    def keys(self) -> Iterator[bytes]:
        """Yield the keys, for maps that do not change meanwhile.

        When the entry under the last key has been removed, the kernel starts from the beginning.
        """
        following = ctypes.create_string_buffer(self._key_bytes)
        key: bytes | None = None
        while self._next_key(self._fd, key, ctypes.addressof(following)) == 0:
            key = following.raw
            yield key
        if ctypes.get_errno() not in (0, errno.ENOENT):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def batches(self, size: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the entries of a hash map, about *size* at a time.

        By BPF_MAP_LOOKUP_BATCH (Linux 5.6). The kernel goes from bucket to bucket: what is there
        all the while is seen exactly once, whatever else comes and goes between two batches.

        Raises:
            OSError: the kernel refused.

        """
        position: ctypes.c_uint32 | None = None
        more = True
        while more:
            following, count = ctypes.c_uint32(), ctypes.c_uint32(size)
            keys = ctypes.create_string_buffer(size * self._key_bytes)
            values = ctypes.create_string_buffer(size * self._value_bytes)
            where = None if position is None else ctypes.byref(position)
            buffers = (ctypes.byref(following), keys, values, ctypes.byref(count), None)
            more = self._lookup_batch(self._fd, where, *buffers) == 0
            problem = 0 if more else ctypes.get_errno()
            if problem == errno.ENOSPC:  # a bucket with more entries than that
                size *= 2
                more = True
                continue
            if problem not in (0, errno.ENOENT):
                raise OSError(problem, os.strerror(problem))
            position = following
            yield list(
                zip(
                    _pieces(keys, count.value, self._key_bytes),
                    _pieces(values, count.value, self._value_bytes),
                    strict=True,
                )
            )


def _pieces(buffer: ctypes.Array[ctypes.c_char], count: int, size: int) -> list[bytes]:
    used = ctypes.string_at(buffer, count * size)
    return [used[at : at + size] for at in range(0, len(used), size)]
