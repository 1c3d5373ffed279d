"""Putting new rules in the place of others, in everything that goes by them, or in nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.nfqueue import PacketQueue, QueueError
from nfsnitch.core.engine import Engine
from nfsnitch.core.rule import Ruleset
from nfsnitch.core.settings import FIXED, Settings
from nfsnitch.openings import Openings
from nfsnitch.reload import RulesRefusedError
from nfsnitch.worker import Worker


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
        before = self._engine.ruleset.settings
        self._use_settings(before, ruleset.settings)
        try:
            self._openings.rules_changed(ruleset, generation)
        except RulesRefusedError:
            self._enforce_by(before)
            raise
        self._worker.rules_changed(ruleset, generation)

    def _use_settings(self, before: Settings, settings: Settings) -> None:
        """Set up anew what follows from the settings, where they are others."""
        fixed = [name for name in FIXED if getattr(before, name) != getattr(settings, name)]
        if fixed:
            raise RulesRefusedError(
                f"{', '.join(fixed)}: changed, and takes a restart of the daemon; nothing else has"
                " been taken over"
            )
        if replace(before, limits=settings.limits) == settings:
            return
        try:
            self._enforce_by(settings)
        except (EnforcementError, QueueError) as problem:
            # Perhaps half of it has been done.
            with suppress(EnforcementError, QueueError):
                self._enforce_by(before)
            raise RulesRefusedError(f"the kernel refused the settings: {problem}") from problem

    def _enforce_by(self, settings: Settings) -> None:
        self._enforcement.use(settings)
        self._enforcement.install()
        self._queue.use(settings)
