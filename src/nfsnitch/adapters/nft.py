"""The nftables ruleset in nft/, put in force and taken away by python-nftables."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nftables import Nftables

from nfsnitch.adapters.queue_target import QueueTargetError, queue_by_target
from nfsnitch.core.settings import FailMode, Loopback, Seeing, Settings, marks_collide
from nfsnitch.resources import nft_file

TABLE = "inet nfsnitch"
_DEFAULT = Settings()
REJECT_MARK = _DEFAULT.reject_mark
QUEUE_BIT = _DEFAULT.queue_bit
ACCEPTED_LABEL = _DEFAULT.label
NAME_BIT = _DEFAULT.name_bit
NAME_LABEL = _DEFAULT.name_label
REFUSED_LABEL = _DEFAULT.cut_label
"""Another one: of flows that were cut, whose packets are judged whatever conntrack says of them."""

JUDGED, BYPASSED, CAUGHT, CACHED = "judged", "bypassed", "caught", "cached"
_NOTHING_MORE = Seeing()
_NOT_IN_FORCE = "the ruleset could not be put in force"
COUNTERS = (JUDGED, BYPASSED, CAUGHT, CACHED)
REFUSE = "refuse"
"""The chain that refuses aloud."""
_FINGERPRINT = "fingerprint"
_AWAITED = "awaited"
_WORKER = "worker"
"""The chain with the target that queues, for `Queueing.XTABLES`."""
_CHAINS: dict[str, int | None] = {
    _AWAITED: None,
    CACHED: None,
    "control": None,
    _FINGERPRINT: None,
    "judge": None,
    "let_out": None,
    "local": None,
    "pick": 149,
    "questions": None,
    REFUSE: None,
    "settle": 151,
    "unevaluated": None,
}
"""Name → priority at its hook, None for those that are jumped to."""
_FORWARD_CHAINS: dict[str, int | None] = {"pick_forwarded": 149, "settle_forwarded": 151}
"""Those that are there for forwarded packets."""


class Queueing(StrEnum):
    """What hands packets to the queue."""

    NFT = "nft"
    """The kernel's nft_queue."""
    XTABLES = "xtables"
    """iptables' target NFQUEUE (xt_NFQUEUE) in our table, for kernels without nft_queue."""


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
    refused_label: int = REFUSED_LABEL
    fail: FailMode = FailMode.CLOSED
    loopback: Loopback = Loopback.SKIP
    forward: bool = False
    """Whether what the machine forwards is judged, too."""
    name_bit: int = NAME_BIT
    name_label: int = NAME_LABEL
    seeing: Seeing = _NOTHING_MORE

    @classmethod
    def of(
        cls,
        queue_num: int,
        queueing: Queueing,
        settings: Settings,
        *,
        forward: bool = False,
        seeing: Seeing = _NOTHING_MORE,
    ) -> RulesetOptions:
        """Return the options that *settings* ask for."""
        return cls(
            queue_num,
            queueing,
            settings.reject_mark,
            settings.queue_bit,
            settings.label,
            settings.cut_label,
            settings.fail,
            settings.loopback,
            forward,
            settings.name_bit,
            settings.name_label,
            seeing,
        )

    @property
    def chains(self) -> Mapping[str, int | None]:
        """Our chains: name → priority at its hook, None for those that are jumped to."""
        by_target = self.queueing is Queueing.XTABLES
        return {
            **_CHAINS,
            **({_WORKER: None} if by_target else {}),
            **(_FORWARD_CHAINS if self.forward else {}),
        }

    def __post_init__(self) -> None:
        """Refuse a reject mark that would lose the queue bit on its way to the chain it is for."""
        if marks_collide(self.reject_mark, self.queue_bit):
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

        Where our table is there already (left by an instance that was killed or of another version,
        or put there before any was started), its rules are exchanged, and chains that are to stay
        do: a packet meets the old rules or the new, what waits in the queue goes on waiting, and
        the counters count on. `Queueing.XTABLES` takes another transaction before this one.

        Raises:
            NftError: the kernel refused; nothing has changed, but for the queue of
                `Queueing.XTABLES` if that was taken.

        """
        present = self._present()
        if present is None:
            self._install_first(options)
            return
        if options.queueing is Queueing.XTABLES and _WORKER not in present.chains:
            self._run(f"add chain {TABLE} {_WORKER}", _NOT_IN_FORCE)
        self._queue_by_target(options)
        self._run(exchanged(options, present.chains, present.counts), _NOT_IN_FORCE)

    def _install_first(self, options: RulesetOptions) -> None:
        try:
            if options.queueing is Queueing.XTABLES:
                self._run(f"add table {TABLE}\nadd chain {TABLE} {_WORKER}", _NOT_IN_FORCE)
            self._queue_by_target(options)
            self._run(added(options), _NOT_IN_FORCE)
        except NftError:
            self.remove()
            raise

    def _queue_by_target(self, options: RulesetOptions) -> None:
        if options.queueing is not Queueing.XTABLES:
            return
        table, bypass = TABLE.split()[1], options.fail is FailMode.OPEN
        try:
            queue_by_target(table, _WORKER, options.queue_num, bypass=bypass)
        except (OSError, QueueTargetError) as problem:
            raise NftError(f"{_NOT_IN_FORCE}: {problem}") from problem

    def counts(self) -> Mapping[str, int] | None:
        """Return how many packets our counters have seen, by name; None if the table is not there.

        Raises:
            NftError: the kernel could not be asked.

        """
        present = self._present()
        return None if present is None else {name: present.counts.get(name, 0) for name in COUNTERS}

    def remove(self) -> None:
        """Take our table away, if it is there.

        Raises:
            NftError: the kernel refused.

        """
        self._run(_fresh_table(), "the ruleset could not be removed")

    def is_installed(self) -> bool:
        """Whether our table is there."""
        return self._present() is not None

    def awaits_names(self) -> bool:
        """Whether our table is there, and has flows judged whose name is awaited.

        Raises:
            NftError: the kernel could not be asked.

        """
        present = self._present()
        return present is not None and present.awaits_names

    def is_in_force(self, options: RulesetOptions) -> bool:
        """Whether our table holds exactly this ruleset.

        Raises:
            NftError: the kernel could not be asked.

        """
        present = self._present()
        if present is None or present.fingerprint != fingerprint(options):
            return False
        return present.has_target or options.queueing is not Queueing.XTABLES

    def _present(self) -> _Present | None:
        nft = Nftables()
        nft.set_json_output(True)
        code, listed, problem = nft.cmd("list tables inet")
        if code != 0:
            raise NftError(f"the tables could not be listed: {problem.strip()}")
        if not any(table.get("name") == TABLE.split()[1] for table in _of_kind(listed, "table")):
            return None
        code, listed, problem = nft.cmd(f"list table {TABLE}")
        if code != 0:
            raise NftError(f"table {TABLE} could not be listed: {problem.strip()}")
        chains = {chain["name"]: chain.get("prio") for chain in _of_kind(listed, "chain")}
        counts = {each["name"]: int(each["packets"]) for each in _of_kind(listed, "counter")}
        of_rules = {rule["chain"]: rule.get("comment", "") for rule in _of_kind(listed, "rule")}
        what = (of_rules.get(_FINGERPRINT, ""), _AWAITED in of_rules, _WORKER in of_rules)
        return _Present(chains, counts, *what)

    def _run(self, text: str, doing: str) -> None:
        # A new context each time: definitions of an earlier command would still be in the old one.
        code, _, problem = Nftables().cmd(text)
        if code != 0:
            raise NftError(f"{doing}: {problem.strip() or 'no reason given'}")


def rendered(options: RulesetOptions) -> str:
    """Return the ruleset as nft text: one transaction that replaces our table."""
    return _whole(options, _fresh_table() + f"add table {TABLE}")


def added(options: RulesetOptions) -> str:
    """Return nft text that puts the ruleset where none of our rules is."""
    return _whole(options, f"add table {TABLE}")


def _whole(options: RulesetOptions, table: str) -> str:
    counters = [f"add counter {TABLE} {name}" for name in COUNTERS]
    return "\n".join([_definitions(options), table, *counters, *_all_chains(options)])


def exchanged(
    options: RulesetOptions, chains: Mapping[str, int | None], counters: Collection[str]
) -> str:
    """Return nft text that exchanges the rules in our table, which has these chains and counters.

    But for the rule of `Queueing.XTABLES`, for which it has no words. Chains stay if they are to be
    there, at the same hook; others go.
    """
    wanted = options.chains
    flushed = [name for name in chains if name != _WORKER or name not in wanted]
    gone = [name for name, priority in chains.items() if wanted.get(name, -1) != priority]
    return "\n".join(
        [
            _definitions(options),
            *(f"flush chain {TABLE} {name}" for name in flushed),
            *(f"delete chain {TABLE} {name}" for name in gone),
            *(f"delete counter {TABLE} {name}" for name in counters if name not in COUNTERS),
            *(f"add counter {TABLE} {name}" for name in COUNTERS if name not in counters),
            *_all_chains(options),
        ]
    )


def _all_chains(options: RulesetOptions) -> list[str]:
    return [_chains(options), _fingerprint_chain(options)]


def _definitions(options: RulesetOptions) -> str:
    definitions = {
        "queue_num": str(options.queue_num),
        "queue_bit": f"{options.queue_bit:#010x}",
        "keep_mask": f"{0xFFFFFFFF ^ options.queue_bit:#010x}",
        "reject_mark": f"{options.reject_mark:#010x}",
        "accepted_label": str(options.accepted_label),
        "refused_label": str(options.refused_label),
        "name_bit": f"{options.name_bit:#010x}",
        "name_mask": f"{0xFFFFFFFF ^ options.name_bit:#010x}",
        "name_label": str(options.name_label),
    }
    return "\n".join(f"define {name} = {value}" for name, value in definitions.items())


def _chains(options: RulesetOptions) -> str:
    judge = "judge-target.nft"
    if options.queueing is Queueing.NFT:
        judge = "judge-queue-open.nft" if options.fail is FailMode.OPEN else "judge-queue.nft"
    # The chain that is jumped to has to stand before the jump.
    names, questions = options.seeing
    files = [
        judge,
        f"fail-{options.fail}.nft",
        f"loopback-{options.loopback}.nft",
        "awaits-names.nft" if names else "awaits-no-names.nft",
        "questions-judge.nft" if questions else "questions-pass.nft",
        "nfsnitch.nft",
    ]
    if options.forward:
        files.append("forward.nft")
    return "\n".join(nft_file(name).read_text("utf-8") for name in files)


def fingerprint(options: RulesetOptions) -> str:
    """Return what tells rulesets apart: it stands in the table itself."""
    text = _definitions(options) + _chains(options)
    # Nobody is to be kept from forging it (who could, could change the rules); hashlib takes 4 MB.
    return f"{zlib.crc32(text.encode()):08x}-{len(text)}"


def _fingerprint_chain(options: RulesetOptions) -> str:
    return (
        "# Nothing comes here; it says which ruleset this is.\n"
        f'table {TABLE} {{\n\tchain {_FINGERPRINT} {{\n\t\treturn comment "{fingerprint(options)}"'
        "\n\t}\n}\n"
    )


def _fresh_table() -> str:
    # Adding it first makes the deletion succeed whether or not it was there.
    return f"add table {TABLE}\ndelete table {TABLE}\n"


@dataclass(frozen=True, slots=True)
class _Present:
    """What there is of ours."""

    chains: Mapping[str, int | None]
    counts: Mapping[str, int]
    fingerprint: str
    awaits_names: bool
    has_target: bool
    """Whether something queues in the chain that is there for it."""


def _of_kind(listed: str, kind: str) -> list[Mapping[str, Any]]:
    """Return the objects of one kind in nft's JSON."""
    everything = json.loads(listed)["nftables"] if listed.strip() else []
    return [each[kind] for each in everything if kind in each]
