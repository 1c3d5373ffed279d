"""One BPF hash or array map, as bytes in and bytes out."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

from nfsnitch.adapters.bpf.libbpf import BPF_ANY, Libbpf


class BpfMap:
    """A map by its descriptor. Not for several threads: the buffers are used again."""

    def __init__(self, library: Libbpf, fd: int, key_bytes: int, value_bytes: int) -> None:
        self._fd = fd
        self._key_bytes = key_bytes
        self._value_bytes = value_bytes
        self._value = ctypes.create_string_buffer(value_bytes)
        self._value_address = ctypes.addressof(self._value)
        self._lookup = library.function("bpf_map_lookup_elem")
        self._update = library.function("bpf_map_update_elem")
        self._delete = library.function("bpf_map_delete_elem")
        self._next_key = library.function("bpf_map_get_next_key")

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

    def remove(self, key: bytes) -> bool:
        """Remove an entry; False if there was none."""
        return bool(self._delete(self._fd, key) == 0)

    def keys(self) -> Iterator[bytes]:
        """Yield the keys. Entries that come and go meanwhile may be missed or seen twice.

        When the entry under the last key has been removed, the kernel starts from the beginning:
        the walk ends after as many keys as a full map can have.
        """
        following = ctypes.create_string_buffer(self._key_bytes)
        key: bytes | None = None
        while self._next_key(self._fd, key, ctypes.addressof(following)) == 0:
            key = following.raw
            yield key
        if ctypes.get_errno() not in (0, errno.ENOENT):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
