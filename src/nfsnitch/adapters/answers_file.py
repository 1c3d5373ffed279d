"""The file of answers on the disk: read as a whole, written as a whole and renamed into place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nfsnitch.adapters.rules_watch import FilesState, state_of

_MOST_BYTES = 16 << 20
_MODE = 0o644


class AnswersFile:
    """Whoever calls waits for the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: FilesState | None = None
        """Of the file as it was read or written last."""

    def has_changed(self) -> bool:
        """Whether somebody else has written it since."""
        return state_of([self.path]) != self.state

    def read(self) -> str | None:
        """Return its text; None if there is no such file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no UTF-8, or too large.

        """
        self.state = state_of([self.path])
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("it is no regular file")
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
        return raw.decode("utf-8-sig")

    def write(self, text: str) -> None:
        """Put *text* in its place, all or nothing.

        Raises:
            OSError: that did not work; the file is as it was.

        """
        place = self.path.resolve()  # where a symbolic link leads, it goes on leading
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = place.with_name(f"{place.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, _MODE), "wb") as file:
            os.fchmod(file.fileno(), _mode(place))
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        new.replace(place)
        self.state = state_of([self.path])


def _mode(path: Path) -> int:
    """Return who may read the file at *path*, as whoever made it has said."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return _MODE
