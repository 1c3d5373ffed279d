"""Which package of rpm's a file belongs to, by its path (`rpm(8)`, ``-qf``)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from nfsnitch.adapters.dpkg import Package
from nfsnitch.core.identity import NO_PACKAGE
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

_DATABASES = ("usr/lib/sysimage/rpm", "var/lib/rpm")
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
_TIMEOUT_S = 10.0
_MOST_BYTES = 4_096
_FORMAT = "%{NAME} %{INSTALLTIME}\\n"
_NS_PER_S = 1_000_000_000


class RpmPackages:
    """Asks rpm; its own files change their format from one release to the next."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Look at the machine whose root directory this is."""
        self._root = root
        self._program = shutil.which("rpm", path=_PATH)
        folders = (root / each for each in _DATABASES)
        self._database = next((each for each in folders if each.is_dir()), None)

    @property
    def is_there(self) -> bool:
        """Whether this machine has packages of rpm's."""
        return self._program is not None and self._database is not None

    def prepare(self) -> None:
        """Do nothing: each question is a program's to answer."""

    def state(self) -> tuple[int, ...]:
        """Return what differs once a package has been installed or removed; cheap.

        Raises:
            OSError: it cannot be seen.

        """
        if self._database is None:
            return ()
        with os.scandir(self._database) as entries:
            files = [each.stat() for each in entries if each.name.startswith(("rpmdb", "Packages"))]
        return tuple(sorted(each.st_mtime_ns for each in files))

    def package_of(self, path: str) -> Package | Unknown:
        """Return the package of the file at an absolute path, symlinks resolved.

        Raises:
            OSError: rpm cannot be run.

        """
        if self._program is None or self._database is None:
            raise FileNotFoundError("there is no rpm")
        where = ("--root", str(self._root)) if self._root != Path("/") else ()
        argv = (self._program, *where, "-qf", "--queryformat", _FORMAT, "--", path)
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                env={"PATH": _PATH, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            return Unknown(f"rpm gave no answer within {_TIMEOUT_S:g} s")
        return answer(done.returncode, done.stdout[:_MOST_BYTES])


def answer(returncode: int, said: bytes) -> Package | Unknown:
    """Return what rpm's exit status and output mean."""
    line = said.split(b"\n", 1)[0]
    if returncode == 0:
        name, _, installed = line.rpartition(b" ")
        if name and installed.isdigit() and len(installed) <= 10:  # noqa: PLR2004  until 2286
            return Package(decoded(name), int(installed) * _NS_PER_S)
    elif line.startswith(b"file ") and line.endswith(b"is not owned by any package"):
        return Package(NO_PACKAGE)
    return Unknown("rpm's answer cannot be understood")
