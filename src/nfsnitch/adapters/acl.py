"""POSIX access control lists, acl(5), as far as they are needed here.

The list of a file is its extended attribute ``system.posix_acl_access``: a version, then entries of
tag, permissions and id (include/uapi/linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_READ_WRITE = 0o6
_NOBODY = 0xFFFFFFFF


def granted(path: Path) -> list[int]:
    """Return the groups that a list names beside the file's own; none if it has no list."""
    try:
        packed = os.getxattr(path, _ATTRIBUTE, follow_symlinks=False)
        entries = _ENTRY.iter_unpack(packed[_VERSION.size :])
        return [gid for tag, _, gid in entries if tag == _GROUP]
    except (OSError, struct.error):
        return []


def grant(path: Path, gid: int) -> None:
    """Let members of group *gid* read and write a file, beside those who may already.

    Raises:
        OSError: its file system has no such lists.

    """
    mode = stat.S_IMODE(path.lstat().st_mode)
    entries = (
        (_USER_OBJ, mode >> 6 & 7, _NOBODY),
        (_GROUP_OBJ, mode >> 3 & 7, _NOBODY),
        (_GROUP, _READ_WRITE, gid),
        (_MASK, (mode >> 3 & 7) | _READ_WRITE, _NOBODY),
        (_OTHER, mode & 7, _NOBODY),
    )
    packed = _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries)
    os.setxattr(path, _ATTRIBUTE, packed, follow_symlinks=False)
