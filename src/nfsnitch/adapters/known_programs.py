"""Which file was last let out under each path, kept over restarts.

A path whose program becomes another file (brought up to date, or replaced by somebody) is
*changed* until a connection of the new file has been let out; from then on that is the one that is
known. So a rule that refuses changed programs goes on refusing, and one that asks does so until the
answer is yes.

The file is written anew as a whole and renamed into place. There is room for so many paths; when it
is used up, those are forgotten whose file is there no longer. If there are none, further programs
are not noted, and it stays unknown whether they have changed: nobody can have a program forgotten
by running many others.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown

MOST_PROGRAMS = 4_096
MOST_PATH_BYTES = 1_024

_FILE, _NEW_FILE, _LOCK = "programs.json", "programs.json.new", "programs.lock"
_VERSION = 1
_MOST_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = Unknown("as many programs are noted as there is room for, and this is none of them")
_LONG = Unknown(f"its path is longer than {MOST_PATH_BYTES} bytes")

_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What was let out under a path."""

    sha256: str
    previous: str | None
    """What it was before that, which may run still."""
    noted_ns: int
    """When this one was let out first, in ns since 1970."""


class KnownPrograms:
    """Remembers by path. `open` and `write` wait for the disk, the rest does not."""

    def __init__(self, folder: Path, most: int = MOST_PROGRAMS) -> None:
        """Keep it in *folder*, which only root may write to; for *most* paths."""
        self._folder = folder
        self._most = most
        self._known: dict[str, Known] = {}
        self._lock: int | None = None
        self.is_dirty = False
        """Whether there is something to be written."""

    def open(self) -> None:
        """Read what was kept. Who comes second, in another network namespace, only reads."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._folder / _LOCK)
        except OSError as problem:
            _log.warning("programs let out are not kept over a restart: %s", problem)
        try:
            with (self._folder / _FILE).open("rb") as file:
                raw = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return
        except OSError as problem:
            _log.warning("which programs were let out before is not known: %s", problem)
            return
        try:
            self._known = parsed(raw)
        except ValueError as problem:
            _log.warning("%s is not used, and will be replaced: %s", self._folder / _FILE, problem)

    def known(self, path: str) -> Known | Unknown | None:
        """Return what was last let out under *path*; None: nothing yet."""
        found = self._known.get(path)
        if found is not None:
            return found
        if len(encoded(path)) > MOST_PATH_BYTES:
            return _LONG
        return _FULL if self.is_full else None

    def note(self, path: str, sha256: str, now_ns: int) -> bool:
        """Take note of a program that was let out; False if there is no room."""
        before = self.known(path)
        if isinstance(before, Unknown):
            return False
        if before is None or before.sha256 != sha256:
            previous = before.sha256 if before else None
            self._known[path] = Known(sha256, previous, now_ns)
            self.is_dirty = True
        return True

    def document(self) -> bytes | None:
        """Return what is to be written; None if there is nothing, or it is not ours to write."""
        if not self.is_dirty or self._lock is None:
            return None
        self.is_dirty = False
        programs = {path: list(known) for path, known in self._known.items()}
        return json.dumps({"version": _VERSION, "programs": programs}).encode("ascii")

    def write(self, document: bytes) -> None:
        """Write it, all or nothing."""
        try:
            path = self._folder / _NEW_FILE
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123  a descriptor
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            path.replace(self._folder / _FILE)
        except OSError as problem:
            _log.warning("programs let out could not be kept: %s", problem)

    def close(self) -> None:
        """Let another daemon keep it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_full(self) -> bool:
        """Whether there is no room for further paths."""
        return len(self._known) >= self._most

    def paths(self) -> list[str]:
        """Return all paths that something is known of."""
        return list(self._known)

    def forget(self, paths: Iterable[str]) -> None:
        """Forget what was let out under these."""
        for path in paths:
            self.is_dirty |= self._known.pop(path, None) is not None


def parsed(raw: bytes) -> dict[str, Known]:
    """Return what a document says.

    Raises:
        ValueError: it is none of ours; the message says why.

    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"it is no JSON ({type(problem).__name__})") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError(f"its version is not {_VERSION}")
    programs = document.get("programs")
    if not isinstance(programs, dict) or len(programs) > MOST_PROGRAMS:
        raise ValueError(f"it does not have up to {MOST_PROGRAMS} programs")
    return {path: _known(path, values) for path, values in programs.items()}


def _known(path: str, values: Any) -> Known:  # noqa: ANN401  whatever JSON has
    match values:
        case [str(sha256), (str() | None) as previous, int(noted_ns)] if (
            path.startswith("/")
            and _SHA256.fullmatch(sha256)
            and (previous is None or _SHA256.fullmatch(previous))
            and not isinstance(noted_ns, bool)
        ):
            return Known(sha256, previous, noted_ns)
    raise ValueError("what it says of a program cannot be understood")


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    _log.info("another daemon keeps which programs are let out: what is noted here is not kept")
    return None
