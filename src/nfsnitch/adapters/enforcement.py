"""Makes packets depend on the worker, and lets them go again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from nfsnitch.adapters.cached_rules import CachedRules, CachedRulesError, Outcome
from nfsnitch.adapters.descriptors import Reserve
from nfsnitch.adapters.nft import (
    CACHED,
    COUNTERS,
    REFUSE,
    TABLE,
    NftError,
    NftRuleset,
    Queueing,
    RulesetOptions,
    rendered,
)
from nfsnitch.core.settings import Seeing, Settings

_NOTHING_MORE = Seeing()
_NO_PROGRAMS = "no eBPF programs were given for that"

_log = logging.getLogger(__name__)


class EnforcementError(Exception):
    """The rules could not be put in force or removed; the message says which and why."""


class SeesQueued(Protocol):
    """Is told whether eBPF programs are asked about each packet before it is queued."""

    def __call__(self, *, sees: bool) -> None:
        """Hear that they are, or that they will not be in a moment."""


def _nobody_told(*, sees: bool) -> None:
    pass


class Counts(NamedTuple):
    """Packets, since the rules were first put in force (whoever did it)."""

    judged: int
    """Picked for the queue."""
    bypassed: int
    """Left unevaluated (`FailMode.OPEN`)."""
    caught: int
    """Came out unevaluated though they must not, and were dropped (`FailMode.CLOSED`)."""
    cached: int
    """Answered for in the kernel, by what had been decided before."""


class Enforcement:
    """Our rules in the present network namespace.

    It keeps the file descriptors that it needs in reserve, so that it can do its work in a process
    that has used up all others.
    """

    def __init__(
        self,
        queue_num: int,
        settings: Settings | None = None,
        *,
        forward: bool = False,
        seeing: Seeing = _NOTHING_MORE,
    ) -> None:
        """Prepare rules that queue to *queue_num*, by the defaults unless *settings* say more.

        With *forward* what the machine forwards is queued, too; and what *seeing* says.

        Raises:
            OSError: there are too few file descriptors.

        """
        self._nft = NftRuleset()
        self._queue_num = queue_num
        self._forward = forward
        self._reserve = Reserve()
        with self._reserve.given_up():
            self.queueing = Queueing.NFT if self._nft.can_queue() else Queueing.XTABLES
        self._settings = settings or Settings()
        self._seeing = seeing
        self._awaits_names = False
        self._cached = CachedRules(TABLE.split()[1], CACHED, CACHED, REFUSE)
        self._programs: Mapping[Outcome, int] = {}
        self._cache_problem: str | None = _NO_PROGRAMS
        self._sees_queued: SeesQueued = _nobody_told

    def close(self) -> None:
        """Give back what is kept in reserve. The rules stay as they are."""
        self._reserve.close()

    @property
    def awaits_names(self) -> bool:
        """Whether the rules that `install` has put in force judge flows whose name is awaited."""
        return self._awaits_names

    @property
    def seeing(self) -> Seeing:
        """What the next `install` goes by."""
        return self._seeing

    def use(self, settings: Settings, seeing: Seeing) -> None:
        """Let the next `install` go by these."""
        self._settings, self._seeing = settings, seeing

    @property
    def cache_problem(self) -> str | None:
        """Why the kernel answers for nothing by itself; None: it asks the programs."""
        return self._cache_problem

    def ask(
        self,
        programs: Mapping[Outcome, int],
        problem: str | None = None,
        sees_queued: SeesQueued = _nobody_told,
    ) -> None:
        """Have the kernel ask these programs, from the next `install` on; by their descriptors.

        Not if there are none, or there is a *problem* with them. *sees_queued* is told when they
        see each packet before it is queued, and before they do not any more.
        """
        self._programs, self._sees_queued = programs, sees_queued
        try:
            self._cache_problem = problem or (self._cached.problem() if programs else _NO_PROGRAMS)
        except OSError as refusal:
            self._cache_problem = str(refusal)

    def install(self) -> None:
        """Put the rules in force, all or none, in place of any of ours.

        Raises:
            EnforcementError: refused; what was in force before still is, but for the queue that
                it leads to (see `NftRuleset.install`).

        """
        was_there = self.is_installed()
        try:
            with self._asking():
                options = self._options()
                self._sees_queued(sees=False)
                self._nft.install(options)
                self._awaits_names = options.seeing.names
                self._install_cached()
        except EnforcementError:
            if not was_there:
                self.remove()
            raise

    def _install_cached(self) -> None:
        """Have the kernel ask the programs; without them all is queued, and nothing is lost."""
        if self._cache_problem is not None:
            return
        try:
            self._cached.install(self._programs)
        except CachedRulesError as problem:
            self._cache_problem = str(problem)
            _log.warning("the kernel answers nothing by itself: %s", problem)
            return
        self._sees_queued(sees=bool(self._programs))

    def remove(self) -> None:
        """Remove every rule.

        Raises:
            EnforcementError: refused.

        """
        with self._asking():
            self._sees_queued(sees=False)
            self._nft.remove()

    def is_installed(self) -> bool:
        """Whether our table is there, whatever is in it.

        Raises:
            EnforcementError: the kernel could not be asked.

        """
        return self.counts() is not None

    def is_in_force(self) -> bool:
        """Whether the very rules that `install` would put in force are there.

        Raises:
            EnforcementError: the kernel could not be asked.

        """
        with self._asking():
            return self._nft.is_in_force(self._options())

    def counts(self) -> Counts | None:
        """Return what the rules in force have counted; None if there are none.

        Raises:
            EnforcementError: the kernel could not be asked.

        """
        with self._asking():
            counts = self._nft.counts()
        return None if counts is None else Counts(*(counts[name] for name in COUNTERS))

    def text(self) -> str:
        """Return the ruleset as nft text, without what nft has no words for."""
        with self._asking():
            return rendered(self._options())

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with self._reserve.given_up():
                yield
        except (NftError, OSError) as problem:
            raise EnforcementError(str(problem)) from problem

    def _options(self) -> RulesetOptions:
        seeing = self._seeing
        if not seeing.names and self._nft.awaits_names():
            # Flows bear the label already. That nobody needs their names any more does not mean
            # that their data may leave unjudged.
            seeing = seeing._replace(names=True)
        how = (self._queue_num, self.queueing, self._settings)
        return RulesetOptions.of(*how, forward=self._forward, seeing=seeing)
