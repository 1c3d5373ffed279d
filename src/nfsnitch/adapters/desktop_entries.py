"""The applications that this machine's desktop knows, by the programs that they run.

Only the folders that root alone can write to are read. A user's own entries are left out on
purpose: any program of that user may write one, and call itself by another's name and icon.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nfsnitch.core.cgroup_path import place
from nfsnitch.core.desktop_entry import DesktopEntry, parse
from nfsnitch.core.identity import DesktopName
from nfsnitch.core.owner import Process
from nfsnitch.core.script import interpreter_of, script_of
from nfsnitch.core.unknown import Unknown

FOLDERS = (
    Path("/usr/local/share/applications"),
    Path("/usr/share/applications"),
    Path("/var/lib/flatpak/exports/share/applications"),
    Path("/var/lib/snapd/desktop/applications"),
)
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
MOST_ENTRIES = 4_096
MOST_BYTES = 1 << 18
_MOST_FOLDERS, _MOST_DEPTH = 256, 4
_LAUNCHERS = frozenset({"flatpak", "snap", "bwrap", "sh", "bash", "dash", "gapplication"})
"""They run many an application: an entry with one of these is found by another way, or not."""
_OF_ROOT = ("/usr/", "/opt/", "/snap/")
_NONE = Unknown("no entry of the desktop is known to run it")


class Index(NamedTuple):
    """All entries by what leads to them."""

    by_program: Mapping[str, DesktopName]
    """By the path of the program or script, symlinks resolved."""
    by_file_name: Mapping[str, DesktopName]
    """By the name of that file alone."""
    by_entry: Mapping[str, DesktopName]
    """By the desktop file ID."""
    state: tuple[tuple[str, int], ...]
    """The folders that were read, and when each had changed last (ns since 1970)."""

    def name_of(self, process: Process) -> DesktopName | Unknown:
        """Return the entry of the application that a process belongs to."""
        found = self._by_app(process)
        if found is None:
            script = script_of(process)
            exe = process.exe.path
            is_interpreter = not isinstance(exe, Unknown) and interpreter_of(exe) is not None
            program = script if is_interpreter else exe
            found = None if isinstance(program, Unknown) else self._by_path(program)
        return found or _NONE

    def is_stale(self) -> bool:
        """Whether a folder has changed since it was read."""
        return any(_changed_ns(folder) != changed_ns for folder, changed_ns in self.state)

    def _by_app(self, process: Process) -> DesktopName | None:
        app = Unknown("") if isinstance(process.cgroup, Unknown) else place(process.cgroup).app
        if isinstance(app, Unknown):
            return None
        kind, _, name = app.partition(":")
        if kind == "flatpak":
            return self.by_entry.get(f"{name}.desktop")
        return self.by_entry.get(f"{name}_{name}.desktop") if kind == "snap" else None

    def _by_path(self, path: str) -> DesktopName | None:
        found = self.by_program.get(path)
        if found is None and path.startswith(_OF_ROOT):
            # Many an entry runs /usr/bin/NAME, a script that runs /usr/lib/NAME/NAME.
            found = self.by_file_name.get(path.rpartition("/")[2])
        return found


def read(
    folders: Sequence[Path] = FOLDERS, search: Sequence[str] = PATH, locale: str = ""
) -> Index:
    """Read all entries; of one ID in several folders the first counts. Takes long."""
    by_program: dict[str, DesktopName] = {}
    by_file_name: dict[str, DesktopName] = {}
    by_entry: dict[str, DesktopName] = {}
    state: list[tuple[str, int]] = []
    for root in folders:
        for folder in _folders(root):
            state.append((str(folder), _changed_ns(str(folder))))
            for path in _files(folder):
                entry_id = "-".join(path.relative_to(root).parts)
                if entry_id in by_entry or len(by_entry) >= MOST_ENTRIES:
                    continue
                entry = _parsed(path, locale)
                if entry is None:
                    continue
                name = DesktopName(entry_id, entry.name, entry.icon)
                by_entry[entry_id] = name
                for program in _programs(entry, search):
                    by_program.setdefault(program, name)
                    by_file_name.setdefault(program.rpartition("/")[2], name)
    return Index(by_program, by_file_name, by_entry, tuple(state))


def _folders(root: Path) -> Iterator[Path]:
    """Yield *root* and what is below it; the root even if it is not there yet."""
    yield root
    waiting = [(root, 0)]
    seen = 1
    while waiting:
        folder, depth = waiting.pop()
        for each in _entries(folder):
            if each.is_dir(follow_symlinks=False) and depth < _MOST_DEPTH and seen < _MOST_FOLDERS:
                seen += 1
                yield Path(each.path)
                waiting.append((Path(each.path), depth + 1))


def _files(folder: Path) -> Iterator[Path]:
    for each in sorted(_entries(folder), key=lambda entry: entry.name):
        if each.name.endswith(".desktop"):
            yield Path(each.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _parsed(path: Path, locale: str) -> DesktopEntry | None:
    try:
        # Whatever it leads to, it must not be waited for: a pipe, say.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            return None
        return parse(file.read(MOST_BYTES), locale)


def _programs(entry: DesktopEntry, search: Sequence[str]) -> Iterator[str]:
    """Yield the files that an entry runs, symlinks resolved."""
    for word in dict.fromkeys((entry.program, entry.try_program)):
        path = None if word is None else _found(word, search)
        if path is not None and path.rpartition("/")[2] not in _LAUNCHERS:
            yield path


def _found(word: str, search: Sequence[str]) -> str | None:
    places = [word] if word.startswith("/") else [f"{folder}/{word}" for folder in search]
    if "\0" in word or ("/" in word and not word.startswith("/")):
        return None
    for each in places:
        real = os.path.realpath(each)
        if os.path.isfile(real) and os.access(real, os.X_OK):  # noqa: PTH113  text as it is
            return real
    return None


def _changed_ns(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116  text as it is
    except OSError:
        return 0
