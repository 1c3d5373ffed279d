"""Which package a file belongs to: dpkg's where there is dpkg, else rpm's."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nfsnitch.adapters.dpkg import DpkgPackages, Package
from nfsnitch.adapters.rpm import RpmPackages
from nfsnitch.core.unknown import Unknown

_NO_MANAGER = Unknown("this machine has neither dpkg's nor rpm's packages")


class Packages(Protocol):
    """A package manager."""

    def prepare(self) -> None:
        """Read now what all looking up needs, so that the first who asks need not wait for it.

        Raises:
            OSError: the package manager's files cannot be read.

        """

    def state(self) -> tuple[int, ...]:
        """Return what differs once a package has been installed or removed; cheap.

        Raises:
            OSError: it cannot be seen.

        """

    def package_of(self, path: str) -> Package | Unknown:
        """Return the package of the file at an absolute path; takes long.

        Raises:
            OSError: the package manager's files cannot be read.

        """


class NoPackages:
    """A machine whose package manager is not known here."""

    def prepare(self) -> None:
        """Do nothing: there is nothing to be read."""

    def state(self) -> tuple[int, ...]:
        """Return that nothing ever changes."""
        return ()

    def package_of(self, path: str) -> Unknown:
        """Return why there is none."""
        del path
        return _NO_MANAGER


def packages(root: Path = Path("/")) -> Packages:
    """Return the package manager of the machine whose root directory this is."""
    for manager in (DpkgPackages(root), RpmPackages(root)):
        if manager.is_there:
            return manager
    return NoPackages()
