"""Who is at the other end of a Unix socket, as the kernel says."""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")
"""struct ucred, unix(7)."""
_GID = struct.Struct("=I")
_SO_PEERGROUPS = 59
"""asm-generic/socket.h; Linux 4.13."""
_FEW_GROUPS_BYTES = 64 * _GID.size
_NGROUPS_MAX = 65_536
"""linux/limits.h"""


class Peer(NamedTuple):
    """A process, with the credentials that it had when it connected."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]
    """Its supplementary groups."""

    def is_in(self, gid: int) -> bool:
        """Whether it is a member of the group, primary or supplementary."""
        return gid == self.gid or gid in self.groups


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected (SO_PEERCRED, SO_PEERGROUPS).

    Raises:
        OSError: the socket is no connected Unix socket.

    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(credentials)
    return Peer(pid, uid, gid, _groups(connection))


def _groups(connection: socket.socket) -> frozenset[int]:
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _FEW_GROUPS_BYTES)
    except OSError as problem:
        if problem.errno != errno.ERANGE:
            raise
        packed = _many_groups(connection)
    return frozenset(gid for (gid,) in _GID.iter_unpack(packed))


def _many_groups(connection: socket.socket) -> bytes:
    # Python takes buffers of at most 1,024 bytes here; the kernel wants one for all groups.
    import ctypes  # noqa: PLC0415  hardly anybody is in so many groups

    buffer = ctypes.create_string_buffer(_NGROUPS_MAX * _GID.size)
    size = ctypes.c_uint32(len(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(size))
    if libc.getsockopt(*arguments):
        raise OSError(ctypes.get_errno(), "SO_PEERGROUPS")
    return buffer.raw[: size.value]
