"""Copies of programs under names of their own, each made once for all scenarios on a stage.

To the firewall each copy is another program. It reads a binary that it has not seen before as a
whole, which takes two seconds where the machine is emulated; so the next scenario that wants the
same binary under the same name gets the same file, if nobody has touched it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

_EXECUTABLE = 0o755
_State = tuple[int, int, int, int]


class Copies:
    """Keeps copies below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states: dict[Path, _State] = {}

    def of(self, source: Path, name: str) -> Path:
        """Return a copy of the binary *source* that is called *name*, in a folder of its binary's.

        Raises:
            OSError: it cannot be made.

        """
        place = self._folder / source.name / name
        known = self._states.get(place)
        if known is None or _state(place) != known:
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(source, place)
            self._states[place] = _state(place)
        return place


def copy(source: Path, place: Path) -> None:
    """Make a copy that can be executed; what was at *place* before is left as it is, without it."""
    place.unlink(missing_ok=True)
    shutil.copyfile(source, place)
    place.chmod(_EXECUTABLE)


def _state(path: Path) -> _State:
    """Return what differs after a change, or after another file has taken its place."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return (0, 0, 0, 0)
    return (found.st_ino, found.st_size, found.st_ctime_ns, found.st_mode)
