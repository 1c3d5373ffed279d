"""Which package of dpkg's a file belongs to, by its path (`dpkg-query(1)`, ``--search``).

dpkg keeps a file for each package that lists the paths of what it installed. A machine has hundreds
of thousands of these paths; all that is kept of each is a hash of 4 bytes, in the order of the
packages, and what is found by it is looked up in the package's list.

Two things give the file another path than the one that is listed. Where /bin is a link to /usr/bin
(and /lib, /sbin alike), a package may list either. And a *diversion* (`dpkg-divert(1)`) has dpkg
put one package's file elsewhere, so that another's can take its place.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nfsnitch.core.identity import NO_PACKAGE
from nfsnitch.core.text import decoded, encoded
from nfsnitch.core.unknown import Unknown

_DATABASE = Path("var/lib/dpkg")
_MERGED = (b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/libx32")
_HASH_BYTES = 4
_HASH_MASK = (1 << 32) - 1
_LINES_OF_DIVERSION = 3
_MOST_DIVERSIONS = 10_000


class Package(NamedTuple):
    """What is known of the package of a file."""

    name: str
    """Without its architecture; `NO_PACKAGE` for a file of no package."""
    installed_ns: int = 0
    """When its list of files was written last, in ns since 1970: installed, or brought up to date.
    0: of no package."""


class Diversion(NamedTuple):
    """A file of one or several packages that is put elsewhere."""

    listed: bytes
    """The path that the packages list, which is another one's place now."""
    placed: bytes
    """Where their file is."""
    by: bytes
    """The package whose own file stays at the first path."""


class DpkgPackages:
    """Looks packages up; reads what dpkg wrote anew when it has written."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Look at the machine whose root directory this is."""
        self._root = root
        self._info = root / _DATABASE / "info"
        self._diversions_file = root / _DATABASE / "diversions"
        self._hashes = b""
        self._first: list[int] = []
        """Of each package, the number of its first path."""
        self._lists: list[str] = []
        self._diversions: list[Diversion] = []
        self._read: tuple[int, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether this machine has packages of dpkg's."""
        return self._info.is_dir()

    def state(self) -> tuple[int, ...]:
        """Return what differs once a package has been installed or removed; cheap.

        Raises:
            OSError: it cannot be seen.

        """
        times = [self._info.stat().st_mtime_ns]
        if self._diversions_file.exists():
            times.append(self._diversions_file.stat().st_mtime_ns)
        return tuple(times)

    def prepare(self) -> None:
        """Read all that dpkg lists, if it has changed: a tenth of a second.

        Raises:
            OSError: dpkg's files cannot be read.

        """
        state = self.state()
        if state != self._read:
            self._build()
            self._read = state

    def package_of(self, path: str) -> Package | Unknown:
        """Return the package of the file at an absolute path, symlinks resolved.

        Raises:
            OSError: dpkg's files cannot be read.

        """
        self.prepare()
        for raw in self._spellings(encoded(path)):
            if b"\n" not in raw and (found := self._owner(raw)) is not None:
                return found
        return Package(NO_PACKAGE)

    def _owner(self, path: bytes) -> Package | None:
        for diversion in self._diversions:
            if path == diversion.placed:
                others = self._lists_with(diversion.listed)
                return self._first_of(each for each in others if _name(each) != diversion.by)
            if path == diversion.listed:
                own = self._lists_with(path)
                return self._first_of(each for each in own if _name(each) == diversion.by)
        return self._first_of(self._lists_with(path))

    def _first_of(self, lists: Iterator[str]) -> Package | None:
        for name in sorted(lists):
            installed_ns = (self._info / name).stat().st_mtime_ns
            return Package(decoded(_name(name)), installed_ns)
        return None

    def _lists_with(self, path: bytes) -> Iterator[str]:
        wanted = array("I", [_HASH_MASK & hash(path + b"\n")]).tobytes()
        at = self._hashes.find(wanted)
        while at >= 0:
            number, odd = divmod(at, _HASH_BYTES)
            if not odd:
                name = self._lists[bisect_right(self._first, number) - 1]
                if self._is_in(path, name):  # two paths may have one hash
                    yield name
            at = self._hashes.find(wanted, at + 1)

    def _is_in(self, path: bytes, name: str) -> bool:
        with open(f"{self._info}/{name}", "rb") as file:  # noqa: PTH123  as below
            return any(line == path + b"\n" for line in file)

    def _spellings(self, path: bytes) -> Iterator[bytes]:
        """Yield the paths under which a package may list the file at *path*."""
        yield path
        short = path.removeprefix(b"/usr")
        for folder in _MERGED:
            is_below = short.startswith(folder + b"/") and short != path
            if is_below and (self._root / decoded(folder[1:])).is_symlink():
                yield short

    def _build(self) -> None:
        self._hashes = b""  # not twice at once
        hashes, first, lists = array("I"), [], []
        with os.scandir(self._info) as entries:
            names = sorted(each.name for each in entries if each.name.endswith(".list"))
        for name in names:
            with open(f"{self._info}/{name}", "rb") as file:  # noqa: PTH123  hundreds of them
                first.append(len(hashes))
                lists.append(name)
                hashes.extend(_HASH_MASK & hash(line) for line in file)
        self._hashes, self._first, self._lists = hashes.tobytes(), first, lists
        try:
            self._diversions = list(diversions(self._diversions_file.read_bytes()))
        except FileNotFoundError:
            self._diversions = []


def diversions(raw: bytes) -> Iterator[Diversion]:
    """Yield what dpkg's file ``diversions`` says: three lines for each of them."""
    lines = raw.split(b"\n")[: _MOST_DIVERSIONS * _LINES_OF_DIVERSION]
    for at in range(0, len(lines) - 2, _LINES_OF_DIVERSION):
        listed, placed, by = lines[at : at + _LINES_OF_DIVERSION]
        if listed.startswith(b"/") and placed.startswith(b"/") and by:
            yield Diversion(listed, placed, by)


def _name(list_file: str) -> bytes:
    """Return the package of ``NAME.list`` or ``NAME:ARCHITECTURE.list``."""
    return encoded(list_file.removesuffix(".list").partition(":")[0])
