"""Notices that rule files have changed, by inotify(7), however that was done.

Written in place, renamed into place, deleted and made anew, a symbolic link on the way turned
elsewhere, a file put into a directory of rules: each happens under some name in some directory. So
the directories are watched, each for the names on the way to a rule file; never the files
themselves, whose names may come to mean others.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from asyncinotify import Event, InitFlags, Inotify, Mask, Watch

_log = logging.getLogger(__name__)

_CHANGES = (
    Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_LOST = Mask.Q_OVERFLOW | Mask.IGNORED | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT
"""After these it is not known what else has changed."""
_MAX_LINKS = 40
"""As the kernel follows (path_resolution(7))."""
_MAX_WATCHES = 1_024
_ANY = "/"
"""Stands for any name that a rule file may have; it can be no name itself."""

FilesState = tuple[tuple[str, int, int, int, int, int], ...]
"""Of each file or directory: path, device, inode, size, and the times (ns) when content and status
changed last; an error number and zeros where it cannot be looked at."""

Places = dict[Path, set[str]]
"""Directory → the names in it that matter."""


def state_of(paths: Sequence[Path]) -> FilesState:
    """Return what tells whether any of the files has changed, or there are other ones."""
    return tuple(_state(each) for path in paths for each in _with_files(path))


def is_rule_name(name: str) -> bool:
    """Whether a file of that name in a directory of rules is read."""
    return name.endswith(".yaml") and not name.startswith(".")


def places(paths: Sequence[Path]) -> Places:
    """Return the directories in which something may happen that changes what is read."""
    found: Places = {}
    for path in paths:
        for each in _with_files(path):
            for directory, name in _steps(each):
                found.setdefault(directory, set()).add(name)
        if path.is_dir():
            found.setdefault(path.resolve(), set()).add(_ANY)
    return found


class RulesWatch:
    """Watches rule files; to be read when it is readable."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None]) -> None:
        """Call *changed* from within `read` when something has happened to one of *paths*.

        Raises:
            OSError: inotify is not to be had (see ``fs.inotify`` in ``/proc/sys``).

        """
        self._paths = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100  links stay
        self._changed = changed
        self._inotify = Inotify(InitFlags.CLOEXEC | InitFlags.NONBLOCK, sync_timeout=0)
        self._places: Places = {}
        self._watches: dict[Path, Watch] = {}
        self.watch_again()

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has happened."""
        return self._inotify.fd

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def read(self) -> None:
        """Take note of what has happened."""
        relevant = False
        while (event := self._event()) is not None:
            relevant |= self._is_relevant(event)
        if relevant:
            self._changed()

    def watch_again(self) -> None:
        """Watch the directories that matter now; for one that is missing, its parent."""
        self._places = places(self._paths)
        for directory in [each for each in self._watches if each not in self._places]:
            self._forget(directory)
        for directory in list(self._places)[:_MAX_WATCHES]:
            self._watch(directory)

    def _watch(self, directory: Path) -> None:
        try:
            # Again, too, where it is watched already: the path may lead to another one by now.
            watch = self._inotify.add_watch(directory, _CHANGES)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as problem:
            _log.warning("changes of rule files in %s go unnoticed: %s", directory, problem)
            return
        before = self._watches.get(directory)
        self._watches[directory] = watch
        if before is not None and before is not watch and before not in self._watches.values():
            self._remove(before)

    def _forget(self, directory: Path) -> None:
        watch = self._watches.pop(directory)
        if watch not in self._watches.values():
            self._remove(watch)

    def _remove(self, watch: Watch) -> None:
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            return  # it has gone with its directory

    def _event(self) -> Event | None:
        try:
            return self._inotify.sync_get()
        except BlockingIOError:
            return None

    def _is_relevant(self, event: Event) -> bool:
        if event.mask & Mask.IGNORED:
            return self._is_lost(event)
        if event.mask & _LOST or event.name is None:
            return True
        name = os.fspath(event.name)
        for directory, watch in self._watches.items():
            if watch is event.watch:
                names = self._places.get(directory, set())
                if name in names or (_ANY in names and is_rule_name(name)):
                    return True
        return False

    def _is_lost(self, event: Event) -> bool:
        """Whether a watch has gone that was not taken away by us."""
        gone = [each for each, watch in self._watches.items() if watch is event.watch]
        for directory in gone:
            del self._watches[directory]
        return bool(gone)


def _with_files(path: Path) -> Iterator[Path]:
    """Yield *path*, and the rule files in it where it is a directory."""
    yield path
    try:
        names = os.listdir(path) if path.is_dir() else []  # noqa: PTH208
    except OSError:
        return
    yield from (path / name for name in sorted(names) if is_rule_name(name))


def _state(path: Path) -> tuple[str, int, int, int, int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError) as problem:
        return os.fspath(path), getattr(problem, "errno", 0) or 0, 0, 0, 0, 0
    if stat.S_ISDIR(found.st_mode):
        # Its times change with names that are none of ours; which are, the next entries tell.
        return os.fspath(path), found.st_dev, found.st_ino, 0, 0, 0
    times = found.st_mtime_ns, found.st_ctime_ns
    return os.fspath(path), found.st_dev, found.st_ino, found.st_size, *times


def _steps(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each (directory, name) that the kernel looks up on the way to an absolute *path*.

    Ends where something is missing: that it comes to be there is what is waited for.
    """
    here, left, links = Path("/"), list(path.parts[1:])[::-1], 0
    while left:
        name = left.pop()
        if name == "..":
            here = here.parent
            continue
        yield here, name
        try:
            target = os.readlink(here / name)  # noqa: PTH115  as it is written
        except OSError:
            here /= name
            if not here.is_dir():
                return
            continue
        links += 1
        if links > _MAX_LINKS:
            return
        parts = Path(target).parts
        if target.startswith("/"):
            here, parts = Path("/"), parts[1:]
        left.extend(reversed(parts))
