"""Which binary a program is, beyond its path, and what people call it.

Finding that out takes reading the whole file, which takes as long as it takes: so each value may be
`Pending` first. A flow whose decision depends on such a value is held until it is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nfsnitch.core.unknown import Unknown

NO_PACKAGE = "none"
"""Stands in rules and records for the package of a file that belongs to none."""
_APPIMAGE = re.compile(r"/\.mount_([^/]+)[0-9A-Za-z]{6}/")
"""Where the runtime of AppImages mounts one: up to 6 characters of its name, then 6 by chance."""


@dataclass(frozen=True, slots=True)
class Pending(Unknown):
    """Not known yet; somebody is at work on it."""


_NOT_LOOKED_UP = Unknown("it was not looked up")


@dataclass(frozen=True, slots=True)
class DesktopName:
    """A program as the desktop shows it (freedesktop's Desktop Entry Specification)."""

    entry: str
    """The desktop file ID, as in ``org.mozilla.firefox.desktop``."""
    name: str
    icon: str | None
    """The name of an icon in the theme, or the absolute path of its file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a program's file and its names."""

    sha256: str | Unknown = _NOT_LOOKED_UP
    """Of the whole file, in 64 hexadecimal digits."""
    changed: bool | Unknown = _NOT_LOOKED_UP
    """Whether it is another file than the one last let out under its path."""
    package: str | Unknown = _NOT_LOOKED_UP
    """Which package the file belongs to by its path; `NO_PACKAGE`: to none."""
    previous_sha256: str | None = None
    """Of a changed one: what the file was before."""
    package_updated: bool = False
    """Of a changed one: its package was installed anew since the file before was last let out."""
    user: str | Unknown = _NOT_LOOKED_UP
    group: str | Unknown = _NOT_LOOKED_UP
    desktop: DesktopName | Unknown = _NOT_LOOKED_UP
    ticket: int | None = None
    """While anything is `Pending`: by what `events.ProgramIdentified` will speak of it."""

    @property
    def is_pending(self) -> bool:
        """Whether somebody is at work on it."""
        return self.ticket is not None


NOT_IDENTIFIED = Identity()


def appimage_of(exe: str | Unknown) -> str | Unknown:
    """Return the name, as far as the mount tells it, of the AppImage that a program is in."""
    if isinstance(exe, Unknown):
        return exe
    match = _APPIMAGE.search(exe)
    return Unknown("its path is in no AppImage") if match is None else match[1]
