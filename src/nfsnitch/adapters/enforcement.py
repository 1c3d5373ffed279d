"""Makes packets depend on the worker, and lets them go again: nft, with iptables where it must."""

from __future__ import annotations

from nfsnitch.adapters.iptables import IptablesError, QueueRule
from nfsnitch.adapters.nft import QUEUE_BIT, NftError, NftRuleset, Queueing, RulesetOptions


class EnforcementError(Exception):
    """The rules could not be put in force or removed; the message says which and why."""


class Enforcement:
    """Our rules in the present network namespace."""

    def __init__(self, queue_num: int) -> None:
        self._nft = NftRuleset()
        self._queue_num = queue_num
        self._queue_rule = QueueRule(queue_num, QUEUE_BIT)
        self.queueing = Queueing.NFT if self._nft.can_queue() else Queueing.IPTABLES

    def install(self) -> None:
        """Put the rules in force, all or none.

        Raises:
            EnforcementError: refused; nothing of ours is left.

        """
        try:
            if self.queueing is Queueing.IPTABLES:
                # It takes no packet before our table marks one.
                self._queue_rule.install()
            self._nft.install(RulesetOptions(self._queue_num, self.queueing))
        except (IptablesError, NftError) as problem:
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
                self._queue_rule.remove()
        except (IptablesError, NftError) as problem:
            raise EnforcementError(str(problem)) from problem
