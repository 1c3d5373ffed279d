"""The nftables ruleset in nft/, put in force and taken away by python-nftables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nftables import Nftables

from nfsnitch.resources import nft_file

TABLE = "inet nfsnitch"
REJECT_MARK = 0x6E667372
"""In letters, ``nfsr``. Only ever on a packet between the worker and the chain that refuses it."""
QUEUE_BIT = 0x10000000
"""Only ever on a packet between two chains of ours, where the kernel has no nft_queue."""
ACCEPTED_LABEL = 117
"""Conntrack label, 0-127."""


class Queueing(StrEnum):
    """What hands packets to the queue."""

    NFT = "nft"
    """The kernel's nft_queue."""
    IPTABLES = "iptables"
    """One iptables-nft rule, for kernels without nft_queue."""


class NftError(Exception):
    """The kernel refused the ruleset; the message has nft's own words."""


@dataclass(frozen=True, slots=True)
class RulesetOptions:
    """The numbers in the ruleset."""

    queue_num: int
    queueing: Queueing
    reject_mark: int = REJECT_MARK
    queue_bit: int = QUEUE_BIT
    accepted_label: int = ACCEPTED_LABEL

    def __post_init__(self) -> None:
        """Refuse a reject mark that would lose the queue bit on its way to the chain it is for."""
        if self.reject_mark & self.queue_bit:
            raise ValueError(
                f"reject mark {self.reject_mark:#x} has the queue bit {self.queue_bit:#x} set"
            )


class NftRuleset:
    """Our table in the network namespace of this thread."""

    def can_queue(self) -> bool:
        """Whether this kernel's nft can queue: tried out, not looked up."""
        nft = Nftables()
        nft.set_dry_run(True)
        code, _, _ = nft.cmd("add table inet nfsnitch_probe { chain c { queue num 0; }; }")
        return code == 0

    def install(self, options: RulesetOptions) -> None:
        """Put the ruleset in force in one transaction, in place of whatever our table held.

        Raises:
            NftError: the kernel refused; nothing has changed.

        """
        self._run(rendered(options), "the ruleset could not be put in force")

    def remove(self) -> None:
        """Take our table away, if it is there.

        Raises:
            NftError: the kernel refused.

        """
        self._run(_fresh_table(), "the ruleset could not be removed")

    def is_installed(self) -> bool:
        """Whether our table is there."""
        code, _, _ = Nftables().cmd(f"list table {TABLE}")
        return code == 0

    def _run(self, text: str, doing: str) -> None:
        # A new context each time: definitions of an earlier command would still be in the old one.
        code, _, problem = Nftables().cmd(text)
        if code != 0:
            raise NftError(f"{doing}: {problem.strip() or 'no reason given'}")


def remove_if_empty(table: str) -> None:
    """Take a table away that has nothing in it; it does nothing then, and nobody misses it.

    Raises:
        NftError: the kernel refused.

    """
    nft = Nftables()
    code, listed, _ = nft.cmd(f"list table {table}")
    if code == 0 and listed.split() == ["table", *table.split(), "{", "}"]:
        code, _, problem = nft.cmd(f"delete table {table}")
        if code != 0:
            raise NftError(f"the empty table {table} could not be removed: {problem.strip()}")


def rendered(options: RulesetOptions) -> str:
    """Return the ruleset as nft text: one transaction that replaces our table."""
    judge = {Queueing.NFT: "judge-queue.nft", Queueing.IPTABLES: "judge-mark.nft"}
    definitions = {
        "queue_num": str(options.queue_num),
        "queue_bit": f"{options.queue_bit:#010x}",
        "keep_mask": f"{0xFFFFFFFF ^ options.queue_bit:#010x}",
        "reject_mark": f"{options.reject_mark:#010x}",
        "accepted_label": str(options.accepted_label),
    }
    lines = [f"define {name} = {value}" for name, value in definitions.items()]
    # The chain that is jumped to has to stand before the jump.
    files = [
        nft_file(name).read_text("utf-8") for name in (judge[options.queueing], "nfsnitch.nft")
    ]
    return "\n".join([*lines, _fresh_table(), *files])


def _fresh_table() -> str:
    # Adding it first makes the deletion succeed whether or not it was there.
    return f"add table {TABLE}\ndelete table {TABLE}\n"
