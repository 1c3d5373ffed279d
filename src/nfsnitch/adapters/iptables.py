"""The one rule of iptables-nft that queues, for kernels whose nft cannot."""

from __future__ import annotations

import shlex
import subprocess
from itertools import pairwise

from nfsnitch.adapters.nft import remove_if_empty

_COMMANDS = {"iptables-nft": "ip", "ip6tables-nft": "ip6"}
"""Command → the family of its tables in nftables."""
_TABLE = "security"
"""Its chains OUTPUT and FORWARD have priority 150, between our chains' 149 and 151."""
_COMMENT = "nfsnitch"
_TIMEOUT_S = 10


class IptablesError(Exception):
    """The rule could not be made or removed; the message has iptables' own words."""


class QueueRule:
    """The rule, for IPv4 and IPv6, in the network namespace of this process."""

    def __init__(
        self, queue_num: int, queue_bit: int, *, bypass: bool = False, forward: bool = False
    ) -> None:
        """Queue packets with *queue_bit* in their mark to *queue_num*.

        With *bypass* they go on where nobody reads that queue; else the kernel drops them. With
        *forward* it takes forwarded packets, too.
        """
        self._chains = ("OUTPUT", "FORWARD") if forward else ("OUTPUT",)
        self._rule = [
            *("-m", "mark", "--mark", f"{queue_bit:#x}/{queue_bit:#x}"),
            *("-m", "comment", "--comment", _COMMENT),
            *("-j", "NFQUEUE", "--queue-num", str(queue_num)),
            *(("--queue-bypass",) if bypass else ()),
        ]

    def install(self) -> None:
        """Put the rule first, in place of any that a killed instance left behind.

        Raises:
            IptablesError: refused, or not installed.

        """
        for command in _COMMANDS:
            present = self._present(command)
            for chain in self._chains:
                self._run(command, "-I", chain, "1", *self._rule)
            for rule in present:
                self._run(command, "-D", *rule)

    def remove(self) -> None:
        """Take the rule away, and what iptables-nft made to hold it if nothing else is in there.

        Raises:
            IptablesError: refused.

        """
        for command, family in _COMMANDS.items():
            for rule in self._present(command):
                self._run(command, "-D", *rule)
            self._drop_empty_chains(command)
            remove_if_empty(f"{family} {_TABLE}")

    def lines(self) -> list[str]:
        """Return the commands that make the rule, for people to read."""
        rule = shlex.join(self._rule)
        return [
            f"{command} -t {_TABLE} -I {chain} 1 {rule}"
            for command in _COMMANDS
            for chain in self._chains
        ]

    def _present(self, command: str) -> list[list[str]]:
        """Return the rules of ours, whatever queue they name, as the arguments behind ``-A``."""
        rules = map(shlex.split, self._run(command, "-S").splitlines())
        return [rule[1:] for rule in rules if rule[0] == "-A" and _has_comment(rule)]

    def _drop_empty_chains(self, command: str) -> None:
        listed = self._run(command, "-S")
        # Only the policies of the three built-in chains are left: nobody uses the table.
        if all(line.startswith("-P ") and line.endswith(" ACCEPT") for line in listed.splitlines()):
            for chain in ("INPUT", "FORWARD", "OUTPUT"):
                _output(command, "-X", chain)

    def _run(self, command: str, *arguments: str) -> str:
        finished = _output(command, *arguments)
        if finished.returncode != 0:
            raise IptablesError(f"{command} {' '.join(arguments)}: {finished.stderr.strip()}")
        return finished.stdout


def _has_comment(rule: list[str]) -> bool:
    return ("--comment", _COMMENT) in pairwise(rule)


def _output(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [command, "-w", "-t", _TABLE, *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as problem:
        raise IptablesError(
            f"{command} is missing, and this kernel's nft cannot queue: install the package "
            "iptables, or a kernel with CONFIG_NFT_QUEUE"
        ) from problem
    except subprocess.TimeoutExpired as problem:
        raise IptablesError(f"{command} did not end within {_TIMEOUT_S} s") from problem
