"""All lists that rules use: mapped at once, compiled and fetched as it is due.

Nothing here makes a packet wait: the disk is a thread's business, fetching and compiling that of a
process (`helper`), one list at a time. What there is stays in use until something newer is whole.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from nfsnitch.adapters import procfs
from nfsnitch.adapters.lane import Lane
from nfsnitch.adapters.lists.helper_process import HelperProcess
from nfsnitch.adapters.lists.list_status import ListStatus, status_of
from nfsnitch.adapters.lists.messages import Done, Failed, Job, Phase, Progress
from nfsnitch.adapters.lists.shelf import Key, NewFiles, Shelf, Shelved, key_of, stamp_of
from nfsnitch.adapters.lists.source import Source
from nfsnitch.core.counters import Counter
from nfsnitch.core.listing import NamedList
from nfsnitch.core.own import Fetching, Own
from nfsnitch.core.text import shown
from nfsnitch.lists.layout import SpoiledError

"""In the ``--state`` directory."""
LOOK_S = 5.0
"""So often it is looked whether local files have changed, and what is due."""
_FEWER = 10
"""A list from the network that has shrunk to less than one in so many is not taken."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class ListLibrary:
    """Gives `NamedList`s their content, and keeps it up to date."""

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        counters: collections.Counter[Counter],
        on_change: Callable[[], None],
        own: Own | None = None,
        look_s: float = LOOK_S,
    ) -> None:
        """Keep compiled lists in *folder*; call *on_change* when a list has another content.

        *own* is told which process may connect to where a list is.
        """
        self._own = own or Own()
        self._shelf = Shelf(folder)
        self._loop, self._counters, self._on_change = loop, counters, on_change
        self._look_s = look_s
        self._sources: dict[Key, Source] = {}
        self._lane = Lane("nfsnitch-lists")
        self._helper: HelperProcess | None = None
        self._work: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._is_begun = self._is_closed = False

    def use(self, lists: Sequence[NamedList]) -> None:
        """Give *lists* what there is, and look after them; those of before are forgotten.

        The first time, what was compiled before is mapped at once. Later, what is new comes as soon
        as a thread has mapped it.
        """
        earlier, self._sources = self._sources, {}
        for named in lists:
            key = key_of(named.definition)
            source = self._sources.get(key)
            if source is None:
                source = earlier.get(key) or self._new_source(key)
                source.lists.clear()
                self._sources[key] = source
            source.give(named)
        now_s = self._loop.time()
        for source in self._sources.values():
            if source.key not in earlier:
                source.plan_first(now_s)
            source.due_s = min(source.due_s, now_s + source.refresh_s)
        if self._sources and self._work is None and not self._is_closed:
            self._work = self._loop.create_task(self._look_after())
            self._work.add_done_callback(self._work_ended)
        self._is_begun = True
        self._wake.set()

    def refresh(self, name: str | None = None, *, anyway: bool = False) -> list[str]:
        """Have a list, or all, brought up to date now; return the names of those that will be.

        With *anyway* it is taken even if far less is in it than before.
        """
        found = []
        for source in self._sources.values():
            names = [each.definition.name for each in source.lists]
            if name is None or name in names:
                source.is_wanted, source.wanted_anyway = True, anyway
                found += names if name is None else [name]
        self._wake.set()
        return found

    def status(self) -> list[ListStatus]:
        """Return how each list is, in the order of the rule files."""
        now_s, now_ns = self._loop.time(), time.time_ns()
        return [
            status_of(source, named, now_s, now_ns)
            for source in self._sources.values()
            for named in source.lists
        ]

    @property
    def lists(self) -> list[NamedList]:
        """All that are used, in the order of the rule files."""
        return [named for source in self._sources.values() for named in source.lists]

    def helper_process(self) -> tuple[int, int] | None:
        """Return pid and start time (ns since boot) of the process that works on a list now.

        None: there is none.
        """
        if self._helper is None:
            return None
        found = procfs.stat(self._helper.pid)
        return None if found is None else (self._helper.pid, found.start_time_ns)

    def close(self) -> None:
        """End what is under way; what is mapped stays in use."""
        self._is_closed = True
        if self._helper is not None:
            self._helper.close()
        work = self._work
        if work is not None:
            work.cancel()
            if not self._loop.is_running() and not self._loop.is_closed():
                with suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(work)
        self._lane.close()

    def _new_source(self, key: Key) -> Source:
        source = Source(key)
        if not self._is_begun:
            with suppress(OSError, SpoiledError):
                self._take(source, self._mapped(key))
        return source

    def _take(self, source: Source, shelved: Shelved | None) -> bool:
        if shelved is None:
            return False
        source.take(shelved)
        stamp = None if source.key.is_url else stamp_of(source.key.where)
        if source.stamp is None and stamp is not None and shelved.is_of(stamp):
            source.stamp = stamp
        return True

    def _mapped(self, key: Key) -> Shelved | None:
        try:
            return self._shelf.mapped(key)
        except (SpoiledError, OSError) as problem:
            self._counters[Counter.LISTS_SPOILED] += 1
            _log.warning("list %s: what was compiled is not used: %s", shown(key.where), problem)
            raise

    async def _look_after(self) -> None:
        await self._in_lane(partial(self._shelf.tidy, {key.file_name for key in self._sources}))
        while not self._is_closed:
            self._wake.clear()
            for source in list(self._sources.values()):
                if self._sources.get(source.key) is source and await self._is_due(source):
                    await self._bring_up_to_date(source)
            # Not wait_for(): it may swallow a cancellation that comes as the time is over.
            timer = self._loop.call_later(self._look_s, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _is_due(self, source: Source) -> bool:
        if source.inode is None and source.failures == 0:
            # Not looked for yet, or another daemon has been quicker.
            with suppress(OSError, SpoiledError):
                shelved = await self._in_lane(partial(self._mapped, source.key))
                if self._take(source, shelved):
                    source.plan_first(self._loop.time())
                    self._on_change()
        if not source.key.is_url:
            stamp = await self._in_lane(partial(stamp_of, source.key.where))
            if stamp is not None and stamp != source.stamp:
                source.stamp = stamp
                return True
        return source.is_due(self._loop.time())

    async def _bring_up_to_date(self, source: Source) -> None:
        source.progress = Progress(Phase.FETCHING if source.key.is_url else Phase.READING, 0, None)
        before = source.content
        try:
            await self._renew(source)
        except (OSError, SpoiledError) as problem:
            self._failed(source, _words(problem))
        finally:
            source.progress, source.is_wanted, source.wanted_anyway = None, False, False
        if source.content is not before:
            self._on_change()

    async def _renew(self, source: Source) -> None:
        if source.key.is_url and await self._in_lane(
            partial(self._shelf.inode, source.key)
        ) not in {None, source.inode}:
            shelved = await self._in_lane(partial(self._mapped, source.key))
            if self._take(source, shelved) and not self._is_old(source):
                source.plan_first(self._loop.time())
                return
        opened = self._shelf.new_files(source.key)
        leave = _leaving(opened)
        files = await self._in_lane(opened.__enter__)
        try:
            await self._work_on(source, files)
        finally:
            if not self._lane.do(leave):
                leave()

    async def _work_on(self, source: Source, files: NewFiles) -> None:
        job = _job(source, files)
        self._helper = HelperProcess(self._loop, job, partial(_note_progress, source))
        self._own.fetching = _fetching(self.helper_process(), job.url)
        try:
            said = await self._helper.result()
        finally:
            self._helper = self._own.fetching = None
        if isinstance(said, Failed):
            self._failed(source, said.why)
            return
        if said.is_new:
            shelved = await self._in_lane(partial(self._shelf.put, source.key, files))
            source.take(shelved)
            self._counters[Counter.LISTS_RENEWED] += 1
            _log.info("list %s: %s", _names(source), _summary(said))
        else:
            with suppress(OSError):
                await self._in_lane(partial(self._shelf.touch, source.key))
        source.stamp = files.stamp
        source.succeeded(self._loop.time(), time.time_ns())

    def _is_old(self, source: Source) -> bool:
        if source.checked_ns is None or source.is_wanted:
            return True
        return time.time_ns() - source.checked_ns > source.refresh_s * 1e9

    def _failed(self, source: Source, why: str) -> None:
        self._counters[Counter.LISTS_FAILED] += 1
        source.failed(self._loop.time(), why)
        what = "what there is stays in use" if source.content else "there is nothing to use yet"
        _log.warning("list %s could not be brought up to date: %s; %s", _names(source), why, what)

    async def _in_lane(self, work: Callable[[], _T]) -> _T:
        future: asyncio.Future[_T] = self._loop.create_future()

        def finish(result: _T | None, problem: Exception | None) -> None:
            if future.done():
                return
            if problem is not None:
                future.set_exception(problem)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # what *work* returned

        def run() -> None:
            result, problem = None, None
            try:
                result = work()
            except Exception as error:  # noqa: BLE001  it belongs to whoever waits
                problem = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(finish, result, problem)

        if not self._lane.do(run):
            raise OSError("too much waits for the disk, or all is being stopped")
        return await future

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._work = None
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.error("lists are not looked after any more", exc_info=problem)
            if not self._is_closed:
                self._work = self._loop.create_task(self._begin_again())
                self._work.add_done_callback(self._work_ended)

    async def _begin_again(self) -> None:
        await asyncio.sleep(self._look_s)
        await self._look_after()


def _job(source: Source, files: NewFiles) -> Job:
    key, content = source.key, source.content
    origin = None if content is None else content.description.origin
    entries = 0 if content is None else content.description.report.entries
    is_url = key.is_url
    return Job(
        files.text_fd,
        files.out_fd,
        key.where if is_url else None,
        key.format,
        key.sha256,
        origin.sha256 if origin else None,
        origin.etag if origin and is_url else None,
        origin.last_modified if origin and is_url else None,
        entries // _FEWER if is_url and not source.wanted_anyway else 0,
    )


def _fetching(process: tuple[int, int] | None, url: str | None) -> Fetching | None:
    if process is None or url is None:
        return None
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Fetching(*process, port)


def _leaving(opened: AbstractContextManager[NewFiles]) -> Callable[[], None]:
    def leave() -> None:
        opened.__exit__(None, None, None)

    return leave


def _note_progress(source: Source, progress: Progress) -> None:
    source.progress = progress


def _names(source: Source) -> str:
    return ", ".join(each.definition.name for each in source.lists) or shown(source.key.where)


def _summary(said: Done) -> str:
    report = said.report
    if report is None:
        return "renewed"
    parts = [f"{report.domains:,} names", f"{report.networks:,} networks"]
    if report.errors:
        parts.append(f"{report.errors:,} lines could not be read")
    return ", ".join(parts)


def _words(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        place = f"{shown(os.fspath(problem.filename))}: " if problem.filename else ""
        return f"{place}{problem.strerror}"
    return shown(str(problem))
