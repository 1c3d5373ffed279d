"""Makes packets depend on the worker, and lets them go again: nft, with iptables where it must."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.adapters.iptables import IptablesError, QueueRule
from nfsnitch.adapters.nft import (
    COUNTERS,
    NftError,
    NftRuleset,
    Queueing,
    RulesetOptions,
    rendered,
)
from nfsnitch.core.settings import FailMode, Settings


class EnforcementError(Exception):
    """The rules could not be put in force or removed; the message says which and why."""


class Counts(NamedTuple):
    """Packets, since the rules were first put in force (whoever did it)."""

    judged: int
    """Picked for the queue."""
    bypassed: int
    """Left unevaluated (`FailMode.OPEN`)."""
    caught: int
    """Came out unevaluated though they must not, and were dropped (`FailMode.CLOSED`)."""


class Enforcement:
    """Our rules in the present network namespace."""

    def __init__(self, queue_num: int, settings: Settings | None = None) -> None:
        """Prepare rules that queue to *queue_num*, by the defaults unless *settings* say more."""
        self._nft = NftRuleset()
        self._queue_num = queue_num
        self.queueing = Queueing.NFT if self._nft.can_queue() else Queueing.IPTABLES
        self._settings = settings or Settings()

    def use(self, settings: Settings) -> None:
        """Let the next `install` go by *settings*."""
        self._settings = settings

    def install(self) -> None:
        """Put the rules in force, all or none, in place of any of ours.

        Raises:
            EnforcementError: refused; what was in force before still is.

        """
        was_there = self.is_installed()
        try:
            if self.queueing is Queueing.IPTABLES:
                # It takes no packet before our table marks one.
                self._queue_rule().install()
            self._nft.install(self._options())
        except (IptablesError, NftError) as problem:
            if not was_there:
                self.remove()
            raise EnforcementError(str(problem)) from problem

    def remove(self) -> None:
        """Remove every rule.

        Raises:
            EnforcementError: refused.

        """
        try:
            self._nft.remove()
            if self.queueing is Queueing.IPTABLES:
                self._queue_rule().remove()
        except (IptablesError, NftError) as problem:
            raise EnforcementError(str(problem)) from problem

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
        try:
            return self._nft.is_in_force(self._options())
        except NftError as problem:
            raise EnforcementError(str(problem)) from problem

    def counts(self) -> Counts | None:
        """Return what the rules in force have counted; None if there are none.

        Raises:
            EnforcementError: the kernel could not be asked.

        """
        try:
            counts = self._nft.counts()
        except NftError as problem:
            raise EnforcementError(str(problem)) from problem
        return None if counts is None else Counts(*(counts[name] for name in COUNTERS))

    def text(self) -> str:
        """Return the ruleset as nft text, and the rule of iptables-nft where there is one."""
        text = rendered(self._options())
        if self.queueing is Queueing.IPTABLES:
            text += "".join(f"\n# {line}\n" for line in self._queue_rule().lines())
        return text

    def _options(self) -> RulesetOptions:
        return RulesetOptions.of(self._queue_num, self.queueing, self._settings)

    def _queue_rule(self) -> QueueRule:
        bypass = self._settings.fail is FailMode.OPEN
        return QueueRule(self._queue_num, self._settings.queue_bit, bypass=bypass)
