"""The rules of the chain ``cached``, which ask eBPF programs about packets before they are queued.

They use the match ``bpf`` of iptables (net/netfilter/xt_bpf.c) in our own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from struct import Struct

from nfsnitch.adapters import nft_extensions
from nfsnitch.adapters.nft_extensions import Kind

_MATCH, _REVISION = "bpf", 1
_BY_DESCRIPTOR = 2
"""XT_BPF_MODE_FD_ELF: the program is named by a descriptor of whoever adds the rule."""
_XT_BPF_INFO = Struct("=HHi512s8x")
"""``struct xt_bpf_info_v1``"""


class CachedRulesError(Exception):
    """The kernel has no such match, or refused the rules; the message says which."""


class Outcome(Enum):
    """What becomes of a packet that a program answers for, as the kernel's verdict code."""

    ACCEPT = 1
    DROP = 0
    REFUSE = -4
    """``goto refuse``: refused aloud, in our chain of this name."""


class CachedRules:
    """The rules, in the network namespace of whoever uses this."""

    def __init__(self, table: str, chain: str, counter: str, refuse: str) -> None:
        """*chain* of the inet *table* is to hold them; *counter* counts what they answer for.

        *refuse* is the chain to go to for `Outcome.REFUSE`.
        """
        self._table, self._chain, self._counter, self._refuse = table, chain, counter, refuse

    def problem(self) -> str | None:
        """Return why the kernel cannot be asked so; None: it can. It loads the module it needs.

        Raises:
            OSError: there is no netlink socket to be had.

        """
        why = nft_extensions.problem(Kind.MATCH, _MATCH, _REVISION)
        return None if why is None else f"the kernel has no match bpf (xt_bpf): {why}"

    def install(self, programs: Mapping[Outcome, int]) -> None:
        """Have the programs asked, by their descriptors, in this order; none: nothing is asked.

        All rules that the chain has are replaced.

        Raises:
            CachedRulesError: the kernel refused; the chain is as it was.
            OSError: there is no netlink socket to be had.

        """
        rules = [self._rule(outcome, fd) for outcome, fd in programs.items()]
        why = nft_extensions.replace(self._table, self._chain, rules)
        if why is not None:
            raise CachedRulesError(f"the rules that ask eBPF could not be put in force: {why}")

    def _rule(self, outcome: Outcome, fd: int) -> bytes:
        info = _XT_BPF_INFO.pack(_BY_DESCRIPTOR, 0, fd, b"")
        chain = self._refuse if outcome is Outcome.REFUSE else None
        return (
            nft_extensions.extension(Kind.MATCH, _MATCH, _REVISION, info)
            + nft_extensions.counter(self._counter)
            + nft_extensions.verdict(outcome.value, chain)
        )
