"""One packet socket on one interface: what passes there, with its time and direction."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nfsnitch.lab.inside import inside

ETH_P_ALL = 0x3
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA = 6, 8
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_AUXDATA = struct.Struct("=IIIHHHH")
"""linux/if_packet.h, struct tpacket_auxdata."""
_VLAN_IS_VALID, _TPID_IS_VALID = 1 << 4, 1 << 6
_TIMESPEC = struct.Struct("=qq")
_STATISTICS = struct.Struct("=II")
_VLAN_TPID = 0x8100
_ADDRESSES_BYTES = 12
"""Of a frame: two hardware addresses, after which a VLAN's tag stands."""
_KERNEL_BYTES = 16 << 20
"""What the kernel keeps of a wire until it is read; more is dropped, and counted."""
_BUFFER_BYTES = 1 << 17
_SIOCGIFFLAGS = 0x8913
_IFREQ = struct.Struct("16sh22x")
_IFF_UP_AND_RUNNING = 0x1 | 0x40


@dataclass(frozen=True, slots=True)
class Passed:
    """A frame as a tap saw it."""

    time_ns: int
    """Wall clock, since 1970."""
    is_outgoing: bool
    data: bytes
    """All of it, from the hardware addresses on, with a VLAN's tag where it had one. What the
    kernel leaves to network cards is not done: checksums, and the cutting of long segments."""


class Tap:
    """Sees all that passes an interface, from when it is made until it is closed.

    Nothing is lost as long as less than 16 MiB wait to be read; what does not fit is counted.
    """

    def __init__(self, netns: Path, interface: str) -> None:
        """Listen on *interface* in a namespace."""
        self.interface = interface
        self._dropped = 0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._sock = inside(netns, self._opened)

    def __enter__(self) -> Self:
        """Give it to a `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """See no more."""
        self._sock.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `read`."""
        return self._sock.fileno()

    @property
    def dropped(self) -> int:
        """Return how many frames the kernel had no room for."""
        _, dropped = _STATISTICS.unpack(
            self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        )
        self._dropped += dropped
        return self._dropped

    @property
    def is_up(self) -> bool:
        """Tell whether anything can pass: both ends of the wire are up."""
        name = self.interface.encode()
        _, flags = _IFREQ.unpack(fcntl.ioctl(self._sock, _SIOCGIFFLAGS, _IFREQ.pack(name, 0)))
        return bool(flags & _IFF_UP_AND_RUNNING == _IFF_UP_AND_RUNNING)

    def send(self, frame: bytes) -> None:
        """Send a frame from this interface; raises OSError as the kernel says."""
        self._sock.send(frame)

    def read(self) -> Passed | None:
        """Return the next frame; None: nothing waits."""
        space = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIMESPEC.size)
        try:
            size, ancillary, _, sender = self._sock.recvmsg_into(
                [self._buffer], space, socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        data = bytes(memoryview(self._buffer)[:size])
        time_ns = 0
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                time_ns = seconds * 1_000_000_000 + nanoseconds
            elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                data = _tagged(data, value)
        is_outgoing = sender[2] == socket.PACKET_OUTGOING
        return Passed(time_ns or time.time_ns(), is_outgoing, data)

    def _opened(self) -> socket.socket:
        # Deaf until it is bound, so that nothing comes from other interfaces.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _KERNEL_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.bind((self.interface, ETH_P_ALL))
        return sock


def _tagged(data: bytes, auxiliary: bytes) -> bytes:
    """Put the VLAN's tag back, which the kernel has taken out of the frame."""
    status, *_, tag, tpid = _AUXDATA.unpack(auxiliary)
    if not status & _VLAN_IS_VALID:
        return data
    tpid = tpid if status & _TPID_IS_VALID else _VLAN_TPID
    head, rest = data[:_ADDRESSES_BYTES], data[_ADDRESSES_BYTES:]
    return head + struct.pack("!HH", tpid, tag) + rest
