"""Rules that change while they are in force.

Whoever asks for a reload, the same happens: the files are read by a thread of its own, as one set
that nobody changed meanwhile; what is right comes in force in one step, between two packets; then
the flows under way are reviewed. What is wrong is told, and the rules in force stay.

    asked ──► read in a thread ──┬─ wrong ─► told; nothing has changed
      ▲                          └─ right ─► in force ─► flows reviewed ─► answered
      └── asked again meanwhile: once more after it, for all who asked
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters import rulefile
from nfsnitch.adapters.rulefile.loading import ReadingError, load_apart
from nfsnitch.adapters.rules_watch import FilesState, state_of
from nfsnitch.adapters.sd_notify import notify
from nfsnitch.core.counters import Counter
from nfsnitch.core.events import Instant
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import counted
from nfsnitch.large import is_large, let_go, settle, uncollected
from nfsnitch.threads import in_thread, packets_first

_READINGS = 5
_BETWEEN_READINGS_S = 0.05

_log = logging.getLogger(__name__)


class Reloaded(NamedTuple):
    """What became of a reload."""

    generation: int
    """Of the rules in force now."""
    rules: int
    """How many they are."""
    cut_flows: int
    """Flows under way that were cut."""
    problem: str | None
    """What was wrong, a line for each thing; then the rules are those from before."""


class Loaded(NamedTuple):
    """What was read, and from which state of the files."""

    ruleset: Ruleset
    state: FilesState


class NotLoaded(NamedTuple):
    """What could not be read, and why."""

    problem: str
    """A line for each thing that is wrong."""
    state: FilesState


class RulesRefusedError(Exception):
    """Something is wrong with the rules; the message says what."""


def load_first(paths: Sequence[Path]) -> Loaded:
    """Read all rule files as `load_whole` does, where there is nothing to fall back on.

    Raises:
        RulesRefusedError: something is wrong with them.

    """
    loaded = load_whole(paths)
    if isinstance(loaded, NotLoaded):
        raise RulesRefusedError(loaded.problem)
    return loaded


def load_whole(paths: Sequence[Path]) -> Loaded | NotLoaded:
    """Read all rule files as one set: none of them changed between the first and the last byte."""
    state = state_of(paths)
    for _ in range(_READINGS):
        found = _load(paths)
        before, state = state, state_of(paths)
        if before == state:
            return NotLoaded(found, state) if isinstance(found, str) else Loaded(found, state)
        time.sleep(_BETWEEN_READINGS_S)
        state = state_of(paths)
    problem = (
        f"the rule files changed each of {_READINGS} times that they were read; write a new file"
        " and rename it into place"
    )
    return NotLoaded(problem, state)


def _load(paths: Sequence[Path]) -> Ruleset | str:
    """Return the rules, or what is wrong."""
    try:
        with uncollected():
            ruleset = load_apart(paths, rulefile.system_names(), _warn)
        settle(len(ruleset.rules))
    except rulefile.RuleFileError as error:
        return str(error)
    except ReadingError as error:
        return f"the rule files could not be read: {error}"
    except Exception as error:  # noqa: BLE001  whatever it is, rules are in force that may stay
        _log.exception("the rule files could not be read")
        return f"the rule files could not be read: {type(error).__name__}; see the log"
    return ruleset


def _warn(warning: rulefile.RuleWarning | str) -> None:
    _log.warning("%s", warning)


class InForce(NamedTuple):
    """The rules in force."""

    ruleset: Ruleset
    generation: int


class Reloader:
    """Puts rules in force one generation after the other; belongs to one event loop."""

    def __init__(
        self,
        load: Callable[[], Loaded | NotLoaded],
        loaded: Loaded,
        put_in_force: Callable[[Ruleset, int], None],
        review: Callable[[], Awaitable[int]],
        now: Callable[[], Instant],
        counters: collections.Counter[Counter],
        answers: Callable[[], tuple[Rule, ...]] = tuple,
    ) -> None:
        """Begin with what was *loaded*, which is in force already as generation 1.

        *put_in_force* gets each further generation, and may raise `RulesRefusedError`; *review*
        then looks at the flows under way and returns how many were cut. *answers* returns the rules
        that answers have made, to be in force together with those of the files.
        """
        self._answers = answers
        self._load = load
        self._put_in_force = put_in_force
        self._review = review
        self._now = now
        self._counters = counters
        self._one_at_a_time = asyncio.Lock()
        self._waiting: asyncio.Task[Reloaded] | None = None
        """The reload that has been asked for and has not begun."""
        self._reloads: set[asyncio.Task[Reloaded]] = set()
        """That one, and the one that is under way."""
        self._reading = False
        self.in_force = InForce(loaded.ruleset, 1)
        self.read_state = loaded.state
        """Of the files when they were read last, whether or not they were right."""
        self._planned_ns = 0
        self._change_ns: int | None = None
        self._plan()

    async def reload(self) -> Reloaded:
        """Read the files and put them in force; all who ask before that begins share one answer."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._reload_next())
            self._reloads.add(self._waiting)
            self._waiting.add_done_callback(self._reloads.discard)
        return await asyncio.shield(self._waiting)

    def cancel(self) -> set[asyncio.Task[Reloaded]]:
        """Give up what is asked for or under way: those tasks, which end when the loop runs."""
        for reload in self._reloads:
            reload.cancel()
        return set(self._reloads)

    @property
    def will_read(self) -> bool:
        """Whether a reload is under way, or waits, that has not read all files yet."""
        return self._reading or self._waiting is not None

    def is_due(self) -> bool:
        """Whether by now the rules may say something else than they did.

        So it is when a schedule or an expiry comes, and when somebody has set the clock back.
        """
        if self._change_ns is None:
            return False
        return not self._planned_ns <= self._now().wall_ns < self._change_ns

    def amend(self, put: Callable[[Ruleset, int], None]) -> None:
        """Have the answers of now decide together with the rules in force; *put* sees to it."""
        ruleset, generation = self.in_force
        self.in_force = InForce(ruleset.with_answers(self._answers()), generation + 1)
        put(*self.in_force)
        self._plan()

    async def review(self) -> int:
        """Look at the flows under way, after `amend`; return how many were cut."""
        async with self._one_at_a_time:
            return await self._review()

    async def apply_again(self) -> int:
        """Review held flows and those under way by the same rules, whose time has come."""
        async with self._one_at_a_time:
            self._plan()
            self._put_in_force(*self.in_force)
            return await self._review()

    async def _reload_next(self) -> Reloaded:
        async with self._one_at_a_time:
            self._waiting = None
            # So that a manager that told us to reload (Type=notify-reload) knows which READY=1 is
            # the answer, sd_notify(3).
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            done = await self._reloaded()
            notify(f"READY=1\nSTATUS={_status(done)}")
            return done

    async def _reloaded(self) -> Reloaded:
        self._reading = True
        try:
            with packets_first():
                loaded = await in_thread(self._load)
        finally:
            self._reading = False
        self.read_state = loaded.state
        if isinstance(loaded, NotLoaded):
            return self._refused(loaded.problem)
        ruleset, before = loaded.ruleset.with_answers(self._answers()), [self.in_force.ruleset]
        following = InForce(ruleset, self.in_force.generation + 1)
        try:
            self._put_in_force(*following)
        except RulesRefusedError as problem:
            return self._refused(str(problem))
        self.in_force = following
        self._plan()
        self._counters[Counter.RELOADS] += 1
        cut_flows = await self._review()
        if is_large(before[0].rules):
            with packets_first():
                await in_thread(partial(let_go, before))
        done = Reloaded(self.in_force.generation, len(loaded.ruleset.rules), cut_flows, None)
        _log.info("%s", _status(done))
        return done

    def _refused(self, problem: str) -> Reloaded:
        self._counters[Counter.RELOADS_REFUSED] += 1
        ruleset, generation = self.in_force
        _log.error("reload refused; generation %d stays in force:", generation)
        for line in problem.split("\n"):
            _log.error("  %s", line)
        return Reloaded(generation, len(ruleset.rules), 0, problem)

    def _plan(self) -> None:
        now = self._now()
        self._planned_ns = now.wall_ns
        self._change_ns = self.in_force.ruleset.next_change_ns(now)


def _status(done: Reloaded) -> str:
    if done.problem is not None:
        first = done.problem.split("\n", 1)[0]
        return f"reload refused, generation {done.generation} stays in force: {first}"
    rules, cut = counted(done.rules, "rule"), counted(done.cut_flows, "flow")
    return f"generation {done.generation} in force: {rules}, {cut} cut"
