"""Looks for a file that a glob of a rule matches, without walking for ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from nfsnitch.core.pattern import Paths, PatternError, paths

MAX_ENTRIES = 50_000
"""So many directory entries are looked at for one glob."""


@dataclass(frozen=True, slots=True)
class Match:
    """What was found."""

    path: str | None = None
    """A regular file of that very path."""
    behind_symlink: tuple[str, str] | None = None
    """A path that matches and is no file's own, and the file's own path."""
    is_sure: bool = True
    """Whether all was looked at, up to the file that was found."""


def first_match(glob: str) -> Match:
    """Return the first regular file that *glob* matches and that is not behind a symlink."""
    search = _Search(paths([glob]))
    *directories, last = glob.split("/")[1:]
    try:
        for path in search.below("/", directories, last):
            if path in search.wanted and os.path.isfile(path):  # noqa: PTH113
                real = os.path.realpath(path)
                if real == path:
                    return Match(path)
                search.behind_symlink = search.behind_symlink or (path, real)
    except PatternError:  # a bracket or an escape that reaches over a /
        return Match(is_sure=False)
    return Match(None, search.behind_symlink, is_sure=search.left > 0 and not search.refused)


class _Search:
    """One walk through the file system."""

    def __init__(self, wanted: Paths) -> None:
        self.wanted = wanted
        self.behind_symlink: tuple[str, str] | None = None
        self.left = MAX_ENTRIES
        self.refused = False
        """Whether there was a directory that may not be read."""

    def below(self, directory: str, segments: list[str], last: str) -> Iterator[str]:
        """Yield paths that may match, going down by one *segment* of the glob at a time."""
        if any("**" in each for each in (*segments[:1], *([] if segments else [last]))):
            yield from self._all_below(directory)
            return
        wanted = paths([segments[0] if segments else last])
        for entry in self._entries(directory, wanted):
            path = os.path.join(directory, entry)  # noqa: PTH118
            if not segments:
                yield path
            elif os.path.isdir(path):  # noqa: PTH112
                yield from self.below(path, segments[1:], last)

    def _entries(self, directory: str, wanted: Paths) -> Iterator[str]:
        if not wanted.globs:
            yield from wanted.exact
            return
        for entry in self._listed(directory):
            if entry in wanted:
                yield entry

    def _all_below(self, top: str) -> Iterator[str]:
        waiting = [top]
        while waiting and self.left > 0:
            directory = waiting.pop()
            for entry in self._listed(directory):
                path = os.path.join(directory, entry)  # noqa: PTH118
                yield path
                if _is_own_directory(path):
                    waiting.append(path)

    def _listed(self, directory: str) -> Iterator[str]:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    self.left -= 1
                    if self.left <= 0:
                        return
                    yield entry.name
        except NotADirectoryError:
            return
        except FileNotFoundError:
            return
        except OSError:
            self.refused = True


def _is_own_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
