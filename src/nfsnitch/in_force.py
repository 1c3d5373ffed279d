"""Putting new rules in the place of others, in everything that goes by them, or in nothing."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.nfqueue import PacketQueue, QueueError
from nfsnitch.core.engine import Engine
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import FIXED
from nfsnitch.openings import Openings
from nfsnitch.reload import RulesRefusedError
from nfsnitch.worker import Worker

_log = logging.getLogger(__name__)


class InForce:
    """What goes by the rules: the ruleset, the queue, the hooks on openings, the worker."""

    def __init__(
        self,
        engine: Engine,
        enforcement: Enforcement,
        queue: PacketQueue,
        openings: Openings,
        worker: Worker,
    ) -> None:
        """Change them from now on; `engine.ruleset` has the rules of the moment."""
        self._engine = engine
        self._enforcement = enforcement
        self._queue = queue
        self._openings = openings
        self._worker = worker

    def put(self, ruleset: Ruleset, generation: int) -> None:
        """Put *ruleset* in force.

        Raises:
            RulesRefusedError: it cannot be had while the daemon runs; the rules before are in force
                as they were.

        """
        before = self._engine.ruleset
        self._use_settings(before, ruleset)
        try:
            self._openings.rules_changed(ruleset, generation)
        except RulesRefusedError:
            self._enforce_by(before)
            raise
        self._worker.rules_changed(ruleset, generation)

    def amend(self, ruleset: Ruleset, generation: int) -> None:
        """Put in force the same rules with other answers."""
        if ruleset.seeing != self._enforcement.seeing:
            try:
                self._enforce_by(ruleset)
            except (EnforcementError, QueueError) as problem:
                # Whoever waits for names must get to see the data that tells them.
                _log.error("the last answer is not in force: the kernel refused it: %s", problem)
                return
        self._worker.rules_changed(ruleset, generation)

    def _use_settings(self, rules_before: Ruleset, ruleset: Ruleset) -> None:
        """Set up anew what follows from the settings and rules, where they are others."""
        before, settings = rules_before.settings, ruleset.settings
        fixed = [
            said for name, said in FIXED.items() if getattr(before, name) != getattr(settings, name)
        ]
        if fixed:
            raise RulesRefusedError(
                f"{', '.join(fixed)}: changed, and takes a restart of the daemon; nothing else has"
                " been taken over"
            )
        is_same = replace(before, limits=settings.limits, names=settings.names) == settings
        if is_same and ruleset.seeing == self._enforcement.seeing:
            return
        try:
            self._enforce_by(ruleset)
        except (EnforcementError, QueueError) as problem:
            # Perhaps half of it has been done.
            with suppress(EnforcementError, QueueError):
                self._enforce_by(rules_before)
            raise RulesRefusedError(f"the kernel refused the settings: {problem}") from problem

    def _enforce_by(self, ruleset: Ruleset) -> None:
        self._enforcement.use(ruleset.settings, ruleset.seeing)
        self._enforcement.install()
        self._queue.use(ruleset.settings)
