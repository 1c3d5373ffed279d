"""Finds out which binary each program is, beside the packets' way.

    a packet's process ─► known already? ─► at once
                              │ no
                              ▼
                          ticket ─► lane "small": package, desktop entry, hash ─► identified
                                      └─ large file ─► lane "large": hash ───────────┘

Whoever asks gets an answer at once, `Pending` where it has to be found out first; what is found is
told once for each ticket, also that it could not be found, and after `PATIENCE_S` at the latest.
A program that several ask about together is read once. A file's hash is kept as long as the state
of the file stays what it was: see `program_file`.
"""

from __future__ import annotations

import collections
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nfsnitch.adapters import desktop_entries, mounts, program_file
from nfsnitch.adapters.accounts import Accounts
from nfsnitch.adapters.dpkg import Package
from nfsnitch.adapters.known_programs import KnownPrograms
from nfsnitch.adapters.lane import Lane
from nfsnitch.adapters.packages import Packages
from nfsnitch.adapters.program_file import FileState, RunningFile
from nfsnitch.core.counters import Counter
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.owner import Process
from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown

PATIENCE_S = 12.0
"""After so long it is told that a program could not be identified; the engine waits longer."""
LARGE_BYTES = 16 << 20
"""A larger file is read in another lane, so that small ones need not wait for it."""

_MOST_PROCESSES, _MOST_FILES, _MOST_PATHS = 256, 1_024, 1_024
_RETRY_S = 10.0
"""After a file could not be read, how long nobody tries again."""
_WRITE_EACH, _LOOK_EACH, _FORGET_EACH = 5, 10, 60
"""Seconds between looks for what is to be written, at the folders of desktop entries, and for
programs that are there no longer, where there is no room for more."""
_PENDING = Pending("it is being found out")
_TOO_MANY = Unknown("too many programs wait to be read already")
_TOO_LATE = Unknown(f"it was not found out within {PATIENCE_S:g} s")

_log = logging.getLogger(__name__)


class Sources(NamedTuple):
    """Where things are looked up."""

    known: KnownPrograms
    packages: Packages
    accounts: Accounts
    read_desktop: Callable[[], desktop_entries.Index] = desktop_entries.read
    sha256_of: Callable[[RunningFile], str | Unknown] = program_file.sha256_of


class _Hashed(NamedTuple):
    sha256: str | Unknown
    only_for: tuple[int, int] | None
    """Pid and start of the one process that it surely is true of; None: of all."""
    retry_s: float
    """Of an unknown one: when to try again (monotonic)."""


class _Seen(NamedTuple):
    process: Process
    """Kept, so that no other object gets its `id`."""
    identified: Process
    state: FileState | Unknown
    generation: int


@dataclass(slots=True)
class _Job:
    ticket: int
    process: Process
    state: FileState | Unknown
    file: RunningFile | None
    """Open until it is done; None if it need not be read."""
    needs_package: bool
    begun_s: float
    is_told: bool = False


class _Found(NamedTuple):
    package: Package | Unknown | None
    failed: bool
    """The package manager's files could not be read."""
    desktop: desktop_entries.Index | None
    sha256: str | Unknown | None = None
    is_racy: bool = False
    """The file might be changed without its state showing it."""


class Identities:
    """Knows programs by what they are; belongs to one event loop."""

    def __init__(
        self,
        sources: Sources,
        deliver: Callable[[Callable[[], None]], None],
        told: Callable[[int, Identity], None],
        counters: collections.Counter[Counter],
    ) -> None:
        """*deliver* has the loop call something, from any thread; *told* hears of each ticket."""
        self._sources = sources
        self._deliver = deliver
        self._told = told
        self._counters = counters
        self._small, self._large = Lane("programs"), Lane("large-programs")
        self._processes: OrderedDict[int, _Seen] = OrderedDict()
        self._hashes: OrderedDict[FileState, _Hashed] = OrderedDict()
        self._packages: OrderedDict[str, Package | Unknown] = OrderedDict()
        self._packages_state: tuple[int, ...] | None = None
        self._desktop: desktop_entries.Index | None = None
        self._jobs: dict[tuple[Any, ...], _Job] = {}
        self._outstanding: set[int] = set()
        self._last_ticket = 0
        self._generation = 0
        """One more when anything else than a file may have become another."""
        self._ticks = 0
        sources.known.open()

    def prepare(self) -> None:
        """Read beforehand what each program is looked up in.

        Else a thread would read it while the first packets are decided, and take the interpreter
        from them.
        """
        self._desktop = self._sources.read_desktop()
        with suppress(OSError):  # who asks for a package is told so
            self._sources.packages.prepare()
        self._look_at_packages()

    def identified(self, process: Process) -> Process:
        """Return the process with its identity, as far as that is known now."""
        seen = self._processes.get(id(process))
        state: FileState | Unknown | None = None
        if seen is not None and seen.process is process:
            ticket = seen.identified.identity.ticket
            is_true = ticket is None or ticket in self._outstanding
            if is_true and seen.generation == self._generation:
                return seen.identified
            if ticket is None:
                state = seen.state  # it is what this process runs, for good
        if state is None:
            state = program_file.state_of(process)
        identity = self._identity(process, state)
        found = replace(process, identity=identity)
        is_settled = isinstance(state, Unknown) or isinstance(identity.sha256, str)
        if identity.is_pending or is_settled:
            seen = _Seen(process, found, state, self._generation)
            _remember(self._processes, id(process), seen, _MOST_PROCESSES)
        return found

    def is_outstanding(self, ticket: int) -> bool:
        """Whether a ticket has not been told yet."""
        return ticket in self._outstanding

    def let_out(self, process: Process) -> None:
        """Take note that a connection of *process*, as `identified` returned it, was let out."""
        path, identity = process.exe.path, process.identity
        if isinstance(path, Unknown) or not isinstance(identity.sha256, str):
            return
        if isinstance(identity.changed, Unknown):
            return
        is_new = identity.changed or self._sources.known.known(path) is None
        if not is_new or not program_file.is_at_its_path(process):
            return  # it is known, or one that goes on running after another one took its place
        if not self._sources.known.note(path, identity.sha256, time.time_ns()):
            self._counters[Counter.PROGRAMS_FULL] += 1
        elif identity.changed:
            self._generation += 1

    def tick(self) -> None:
        """Do what is to be done once a second."""
        self._ticks += 1
        self._sources.accounts.refresh()
        self._look_at_packages()
        for job in [each for each in self._jobs.values() if not each.is_told]:
            if time.monotonic() - job.begun_s > PATIENCE_S:
                self._tell(job, _TOO_LATE)
        if self._ticks % _WRITE_EACH == 0:
            self._keep()
        if self._ticks % _FORGET_EACH == 0 and self._sources.known.is_full:
            paths = self._sources.known.paths()
            self._small.do(lambda: self._forget_missing(paths))
        if self._ticks % _LOOK_EACH == 0 and self._desktop and self._desktop.is_stale():
            self._small.do(self._read_desktop_again)

    def close(self) -> None:
        """Begin nothing more, and keep what is to be kept."""
        self._small.close()
        self._large.close()
        document = self._sources.known.document()
        if document is not None:
            self._sources.known.write(document)
        self._sources.known.close()

    def _identity(self, process: Process, state: FileState | Unknown) -> Identity:
        sha256 = self._hash(process, state)
        path = process.exe.path
        package = path if isinstance(path, Unknown) else self._packages.get(path)
        ticket: int | None = None
        if sha256 is None or package is None or self._desktop is None:
            begun = self._begun(process, state, hashes=sha256 is None, finds=package is None)
            if isinstance(begun, Unknown):
                sha256, package = sha256 or begun, package or begun
            else:
                ticket = begun
        return self._put_together(process, sha256 or _PENDING, package or _PENDING, ticket)

    def _put_together(
        self,
        process: Process,
        sha256: str | Unknown,
        package: Package | Unknown,
        ticket: int | None = None,
    ) -> Identity:
        changed, previous, noted_ns = self._change(process, sha256)
        installed_ns = package.installed_ns if isinstance(package, Package) else 0
        accounts = self._sources.accounts
        return Identity(
            sha256=sha256,
            changed=changed,
            package=package.name if isinstance(package, Package) else package,
            previous_sha256=previous,
            package_updated=changed is True and installed_ns > noted_ns,
            user=accounts.user(process.uid),
            group=accounts.group(process.gid),
            desktop=self._desktop.name_of(process) if self._desktop else _PENDING,
            ticket=ticket,
        )

    def _change(
        self, process: Process, sha256: str | Unknown
    ) -> tuple[bool | Unknown, str | None, int]:
        """Return whether the file is another one than before, what was before, and since when."""
        path = process.exe.path
        if isinstance(sha256, Unknown):
            return sha256, None, 0
        if isinstance(path, Unknown):
            return path, None, 0
        known = self._sources.known.known(path)
        if isinstance(known, Unknown):
            return known, None, 0
        if known is None or sha256 == known.sha256:
            return False, None, 0
        if sha256 == known.previous and not program_file.is_at_its_path(process):
            return False, None, 0  # it goes on running after its file was brought up to date
        return True, known.sha256, known.noted_ns

    def _hash(self, process: Process, state: FileState | Unknown) -> str | Unknown | None:
        """Return the hash as far as it is known without reading the file; None if it is not."""
        if isinstance(process.exe.inode, Unknown):
            return process.exe.inode
        if isinstance(state, Unknown):
            return state
        if state.size > program_file.MAX_BYTES:
            self._counters[Counter.PROGRAMS_TOO_LARGE] += 1
            return program_file.too_large(state)
        hashed = self._hashes.get(state)
        if hashed is None or hashed.only_for not in {None, _who(process)}:
            return None
        if isinstance(hashed.sha256, Unknown) and time.monotonic() >= hashed.retry_s:
            return None
        return hashed.sha256

    def _begun(
        self, process: Process, state: FileState | Unknown, *, hashes: bool, finds: bool
    ) -> int | Unknown:
        """Return the ticket of what is to be found out; unknown if that cannot be begun."""
        is_racy = not isinstance(state, Unknown) and state.may_change_unseen(time.time_ns())
        key = (state, process.exe.path, process.exe.deleted, _who(process) if is_racy else None)
        job = self._jobs.get(key)
        if job is not None:
            return _TOO_LATE if job.is_told else job.ticket
        file: RunningFile | None = None
        if hashes:
            opened = program_file.opened(process)
            if isinstance(opened, Unknown):
                return opened
            file = opened
        self._last_ticket += 1
        job = _Job(self._last_ticket, process, state, file, finds, time.monotonic())
        if not self._small.do(lambda: self._find_out(key, job)):
            self._counters[Counter.PROGRAMS_NOT_HASHED] += hashes
            if file:
                os.close(file.descriptor)
            return _TOO_MANY
        self._jobs[key] = job
        self._outstanding.add(job.ticket)
        return job.ticket

    def _find_out(self, key: tuple[Any, ...], job: _Job) -> None:
        """Find out what is wanted; in the thread of the small lane."""
        package, failed = self._package_in_lane(job) if job.needs_package else (None, False)
        desktop = self._sources.read_desktop() if self._desktop is None else None
        found = _Found(package, failed, desktop)
        if job.file is None or job.file.state.size <= LARGE_BYTES:
            self._read(key, job, found)
        elif not self._large.do(lambda: self._read(key, job, found)):
            self._deliver(lambda: self._done(key, job, found._replace(sha256=_TOO_MANY)))

    def _package_in_lane(self, job: _Job) -> tuple[Package | Unknown | None, bool]:
        path = job.process.exe.path
        if isinstance(path, Unknown):
            return None, False
        try:
            return self._sources.packages.package_of(path), False
        except OSError as problem:
            why = f"the package manager's files cannot be read: {problem.strerror}"
            return Unknown(why), True

    def _read(self, key: tuple[Any, ...], job: _Job, found: _Found) -> None:
        """Read the file, if that is wanted; in the thread of a lane."""
        if job.file is not None:
            is_racy = job.file.state.may_change_unseen(time.time_ns())
            sha256 = self._sources.sha256_of(job.file)
            found = found._replace(sha256=sha256, is_racy=is_racy)
        self._deliver(lambda: self._done(key, job, found))

    def _done(self, key: tuple[Any, ...], job: _Job, found: _Found) -> None:
        """Take over what was found; in the loop again."""
        del self._jobs[key]
        path = job.process.exe.path
        if found.desktop is not None:
            self._desktop = found.desktop
            self._generation += 1
        if found.package is not None and not isinstance(path, Unknown):
            _remember(self._packages, path, found.package, _MOST_PATHS)
        self._counters[Counter.PACKAGE_ERRORS] += found.failed
        if job.file is not None and found.sha256 is not None:
            os.close(job.file.descriptor)
            is_known = isinstance(found.sha256, str)
            self._counters[
                Counter.PROGRAMS_HASHED if is_known else Counter.PROGRAMS_NOT_HASHED
            ] += 1
            only_for = _who(job.process) if found.is_racy else None
            hashed = _Hashed(found.sha256, only_for, time.monotonic() + _RETRY_S)
            _remember(self._hashes, job.file.state, hashed, _MOST_FILES)
        if not job.is_told:
            self._tell(job, found.sha256)

    def _tell(self, job: _Job, sha256: str | Unknown | None) -> None:
        job.is_told = True
        self._outstanding.discard(job.ticket)
        path = job.process.exe.path
        package = path if isinstance(path, Unknown) else self._packages.get(path, _TOO_LATE)
        if sha256 is None:  # it need not have been read
            sha256 = self._hash(job.process, job.state) or _TOO_LATE
        self._told(job.ticket, self._put_together(job.process, sha256, package))

    def _look_at_packages(self) -> None:
        try:
            state = self._sources.packages.state()
        except OSError:
            return  # who asks for a package is told so
        if state != self._packages_state:
            self._packages_state = state
            self._packages.clear()
            self._generation += 1

    def _read_desktop_again(self) -> None:
        index = self._sources.read_desktop()

        def use() -> None:
            self._desktop = index
            self._generation += 1

        self._deliver(use)

    def _forget_missing(self, paths: list[str]) -> None:
        missing = [each for each in paths if mounts.of_the_rules().file_at(encoded(each)) is None]
        self._deliver(lambda: self._sources.known.forget(missing))

    def _keep(self) -> None:
        known = self._sources.known
        document = known.document()
        if document is not None and not self._small.do(lambda: known.write(document)):
            known.is_dirty = True


def _who(process: Process) -> tuple[int, int]:
    return process.pid, process.start_time_ns


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:  # noqa: ANN401
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > most:
        cache.popitem(last=False)
