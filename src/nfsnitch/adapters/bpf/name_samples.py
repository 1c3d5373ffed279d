"""What eBPF has copied of names being asked for and answered, before the asker saw the answer.

A sample is in the ring buffer before the packet that it is a copy of is in the socket's queue, and
before the C library's function returns. So whoever drains the buffer between taking a packet from
the queue and deciding on it has heard of every answer that could have led to that packet.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterator

from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    DNS_SAMPLE,
    LIBC_ADDRESSES,
    LIBC_SAMPLE,
    SAMPLE_KIND,
    DnsFlag,
    OwnerEntry,
    SampleKind,
)
from nfsnitch.core.flow import Family, Protocol
from nfsnitch.core.name_sample import Direction, DnsPacket, LibcAnswer, NameSample, TcpPlace
from nfsnitch.core.owner import Owner
from nfsnitch.core.text import decoded

_ADDRESS_BYTES = {int(Family.IPV4): 4, int(Family.IPV6): 16}
_PROTOCOLS = {int(each): each for each in (Protocol.TCP, Protocol.UDP)}
_DNS, _LIBC = int(SampleKind.DNS), int(SampleKind.LIBC)
_RECEIVED, _CUT = int(DnsFlag.RECEIVED), int(DnsFlag.CUT)
"""Plain numbers, and a tuple made at once: members of enumerations cost a microsecond each."""
_SLOT_BYTES = 16
"""Of one address in a sample, of whichever family."""
_TRIES = 32
"""A sample that is being written holds up those behind it, for a microsecond as a rule."""


class NameSamples:
    """The reading end of the ring buffer ``names``. For one thread."""

    def __init__(
        self, programs: LoadedPrograms, owner_of_entry: Callable[[OwnerEntry], Owner]
    ) -> None:
        """*owner_of_entry*: see `OwnerStore.owner_of`.

        Raises:
            BpfError, OSError: the ring buffer cannot be opened or mapped.

        """
        self._owner_of = owner_of_entry
        self._heard: list[bytes] = []
        self._ring = programs.names(self._hear)
        # The pages before the data: how far has been read, and how far has been written.
        self._pages = [
            mmap.mmap(programs.names_fd, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=offset)
            for offset in (0, mmap.PAGESIZE)
        ]
        self._consumed, self._produced = (memoryview(page).cast("Q") for page in self._pages)

    def drain(self) -> Iterator[NameSample]:
        """Yield what has been seen since the last call, some thousand at most.

        Costs next to nothing if there is nothing. What is taken from the iterator or not is gone
        from the ring buffer.
        """
        return self._read() if self.has_some else iter(())

    @property
    def has_some(self) -> bool:
        """Whether there is anything to `drain`."""
        return self._produced[0] != self._consumed[0]

    def fileno(self) -> int:
        """Return a descriptor that is readable when the ring buffer fills up.

        The kernel does not wake anybody for each sample: `drain` is also to be called once a
        second, and before each packet is decided.
        """
        return self._ring.fileno()

    def close(self) -> None:
        """Let go of the ring buffer; once is enough."""
        for view in (self._consumed, self._produced):
            view.release()
        for page in self._pages:
            page.close()
        self._ring.close()

    def _read(self) -> Iterator[NameSample]:
        written = self._produced[0]
        for _ in range(_TRIES):
            if self._ring.consume() or self._consumed[0] >= written:
                break
        heard, self._heard = self._heard, []
        return self._samples(heard)

    def _samples(self, heard: list[bytes]) -> Iterator[NameSample]:
        for raw in heard:
            sample = self._sample(raw)
            if sample is not None:
                yield sample

    def _hear(self, address: int, size: int) -> None:
        self._heard.append(ctypes.string_at(address, size))

    def _sample(self, raw: bytes) -> NameSample | None:
        """Read one sample; None: it is none that this version knows."""
        try:
            (kind,) = SAMPLE_KIND.unpack_from(raw)
            if kind == _DNS:
                return dns_packet(raw)
            return libc_answer(raw, self._owner_of) if kind == _LIBC else None
        except (struct.error, ValueError):
            return None


def dns_packet(raw: bytes) -> DnsPacket:
    """Read ``struct dns_sample`` and the payload behind it.

    Raises:
        struct.error, ValueError: it is none.

    """
    fields = DNS_SAMPLE.unpack_from(raw)
    _, flags, seen_ns, cookie, netns_cookie, local, remote, seq, ack, port, size, *kinds = fields
    family, number, tcp_flags = kinds
    if family not in _ADDRESS_BYTES or number not in _PROTOCOLS:
        raise ValueError(f"no address of family {family}, or protocol {number}, is ever copied")
    address_bytes, proto = _ADDRESS_BYTES[family], _PROTOCOLS[number]
    return DnsPacket(
        Direction.RECEIVED if flags & _RECEIVED else Direction.SENT,
        cookie,
        netns_cookie,
        proto,
        local[:address_bytes],
        port,
        remote[:address_bytes],
        raw[DNS_SAMPLE.size : DNS_SAMPLE.size + size],
        bool(flags & _CUT),
        seen_ns,
        TcpPlace(seq, ack, tcp_flags) if proto is Protocol.TCP else None,
    )


def libc_answer(raw: bytes, owner_of_entry: Callable[[OwnerEntry], Owner]) -> LibcAnswer:
    """Read ``struct libc_sample``.

    Raises:
        struct.error, ValueError: it is none.

    """
    _, count, seen_ns, asker, name, families, addresses = LIBC_SAMPLE.unpack_from(raw)
    kept = range(min(count, LIBC_ADDRESSES))
    if any(families[at] not in _ADDRESS_BYTES for at in kept):
        raise ValueError("an address is neither of IPv4 nor of IPv6")
    return LibcAnswer(
        asker=owner_of_entry(OwnerEntry.unpacked(asker)),
        name=decoded(name.split(b"\0", 1)[0]),
        addresses=tuple(
            addresses[at * _SLOT_BYTES :][: _ADDRESS_BYTES[families[at]]] for at in kept
        ),
        seen_ns=seen_ns,
    )
