"""What makes the daemon read its rules again: SIGHUP, changed files, and time."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from nfsnitch.adapters.rules_watch import RulesWatch, state_of
from nfsnitch.reload import Reloader

_QUIET_S = 0.1
"""Files are read when nothing has happened to them for so long,"""
_PATIENCE_S = 1.0
"""but at the latest so long after the first thing that happened."""

_log = logging.getLogger(__name__)


class ReloadTriggers:
    """Calls a reloader when there is reason to; belongs to one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reloader: Reloader,
        files: tuple[Sequence[Path], Path],
        answers_changed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Watch SIGHUP and *files* until `close`; *failed* hears of what nobody has foreseen.

        Those are the rule files, and the file of answers: when that has been written, by whomever,
        *answers_changed* is called.
        """
        paths, answers = files
        self._loop = loop
        self._reloader = reloader
        self._paths, self._answers = paths, answers
        self._answers_changed = answers_changed
        self._review_planned = self._apply_planned = False
        self._failed = failed
        self._tasks: set[asyncio.Task[object]] = set()
        self._due: asyncio.TimerHandle | None = None
        self._first_change_s = 0.0
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._watch = self._watched()

    def close(self) -> None:
        """Stop watching, and give up what is under way; the loop must have stopped."""
        self._loop.remove_signal_handler(signal.SIGHUP)
        if self._due is not None:
            self._due.cancel()
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        for task in self._tasks:
            task.cancel()
        # Those too that others have asked for: nothing may come in force any more.
        ending = self._tasks | self._reloader.cancel()
        if ending:
            self._loop.run_until_complete(asyncio.wait(ending))

    def reload(self) -> None:
        """Have the rules read again, soon."""
        self._do(self._reloader.reload())

    def review(self) -> None:
        """Have the flows under way looked at by the rules of now, soon."""
        if not self._review_planned:
            self._review_planned = True
            self._do(self._review())

    def apply_again(self) -> None:
        """Have held flows and those under way decided anew by the same rules, soon."""
        if not self._apply_planned:
            self._apply_planned = True
            self._do(self._apply())

    async def _apply(self) -> None:
        self._apply_planned = False
        await self._reloader.apply_again()

    async def _review(self) -> None:
        self._review_planned = False
        await self._reloader.review()

    def tick(self) -> None:
        """See whether the rules say something else by now; to be called each second."""
        if self._reloader.is_due():
            self._do(self._reloader.apply_again())

    def _watched(self) -> RulesWatch | None:
        try:
            watch = RulesWatch((*self._paths, self._answers), self._changed)
        except OSError as problem:
            _log.warning("changed rule files go unnoticed until SIGHUP: %s", problem)
            return None
        self._loop.add_reader(watch, watch.read)
        # Between the first reading and the beginning of the watch something may have happened.
        self._changed()
        return watch

    def _changed(self) -> None:
        now_s = self._loop.time()
        if self._due is None:
            self._first_change_s = now_s
        else:
            self._due.cancel()
        when_s = min(now_s + _QUIET_S, self._first_change_s + _PATIENCE_S)
        self._due = self._loop.call_at(when_s, self._settled)

    def _settled(self) -> None:
        self._due = None
        if self._watch is not None:
            self._watch.watch_again()
        if self._reloader.will_read:
            self._changed()  # perhaps that reading has seen it all
            return
        if state_of(self._paths) != self._reloader.read_state:
            self.reload()
        self._answers_changed()

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._failed(problem)
