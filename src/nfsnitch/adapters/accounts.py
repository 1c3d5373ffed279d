"""Names of users and groups, from the machine's own files (`passwd(5)`, `group(5)`).

Not by `getpwuid(3)`: that may ask a directory server, over connections that wait for us.
"""

from __future__ import annotations

import os
from pathlib import Path

from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

_MOST_BYTES = 1 << 20
_NO_NAME = Unknown("this machine's own files have no name for the number")
_FIELDS = 3


class Accounts:
    """Looks names up; the files are read again when they have changed."""

    def __init__(self, folder: Path = Path("/etc")) -> None:
        """Read ``passwd`` and ``group`` in *folder*."""
        self._users = _Names(folder / "passwd")
        self._groups = _Names(folder / "group")

    def user(self, uid: int) -> str | Unknown:
        """Return the name of a user."""
        return self._users.by_number.get(uid, _NO_NAME)

    def group(self, gid: int) -> str | Unknown:
        """Return the name of a group of users."""
        return self._groups.by_number.get(gid, _NO_NAME)

    def refresh(self) -> None:
        """Take note of changes; once a second is often enough."""
        self._users.refresh()
        self._groups.refresh()


class _Names:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self.by_number: dict[int, str] = {}
        self.refresh()

    def refresh(self) -> None:
        try:
            state = os.stat(self._path)  # noqa: PTH116  each second: a Path takes its time
            if (state.st_mtime_ns, state.st_ino) == self._read:
                return
            with self._path.open("rb") as file:
                raw = file.read(_MOST_BYTES)
        except OSError:
            return  # what was read before is better than nothing
        self._read = (state.st_mtime_ns, state.st_ino)
        self.by_number = names_by_number(raw)


def names_by_number(raw: bytes) -> dict[int, str]:
    """Return number → name of the lines ``NAME:…:NUMBER:…``; the first of several names counts."""
    found: dict[int, str] = {}
    for line in raw.split(b"\n"):
        fields = line.split(b":", _FIELDS)
        # Ten digits are 32 bits; int() alone would take much else.
        if len(fields) >= _FIELDS and fields[0] and fields[2].isdigit() and len(fields[2]) <= 10:  # noqa: PLR2004
            found.setdefault(int(fields[2]), decoded(fields[0]))
    return found
