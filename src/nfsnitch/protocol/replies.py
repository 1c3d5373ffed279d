"""What the daemon may send; what has rows is in `listings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from nfsnitch.protocol.listings import (
    Connections,
    History,
    KnownNames,
    Listed,
    Lists,
    Rules,
    Silenced,
)


@dataclass(frozen=True, slots=True)
class Status:
    """How the daemon is."""

    type: ClassVar[str] = "status"

    version: str
    pid: int
    uptime_s: float
    netns: int
    """Inode number of the network namespace in which it enforces."""
    queue_num: int
    queueing: str
    """What hands packets to the queue: ``nft``, or ``xtables`` (xt_NFQUEUE in our table)."""
    queue_waiting: int
    """Packets in the kernel's queue that have no verdict, the held ones included."""
    queue_length: int
    """As many may wait."""
    attach: str
    """The attach mode of the eBPF programs."""
    attach_why: str
    cache_problem: str | None
    """Why the kernel repeats no decision by itself; None: it does."""
    rule_files: tuple[str, ...]
    """Paths as they were given."""
    rules: int
    generation: int
    """Which rules these are: 1 at the start, one more with each change."""
    default: str
    unattributed: str
    unanswered: str
    fail: str
    """What becomes of new flows without a daemon: ``closed`` or ``open``."""
    held_flows: int
    held_limit: int
    questions: int
    """Asked now."""
    mode: str
    """A value of `Mode`."""
    mode_left_s: float | None
    """So long until it asks again; None: until somebody sets it."""
    answers_file: str | None
    """Where lasting answers are kept; None: nowhere."""
    answers_problem: str | None
    """What is wrong with that file; then no answer is added to it, and none of it is in force."""
    lasting_answers: int
    """Rules that answers have made."""
    temporary_answers: int
    memory_bytes: int
    """Resident memory."""
    watchers: int
    known_names: int
    """Names of addresses, those that are too old included."""
    lists: int
    """Of domains and networks, that rules name."""
    lists_missing: tuple[str, ...]
    """The names of those that have never been read."""
    counters: dict[str, int]
    """Every counter by its name (`core.counters.Counter`), those that are 0 as well."""


@dataclass(frozen=True, slots=True)
class Watching:
    """From here on records follow."""

    type: ClassVar[str] = "watching"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision."""

    type: ClassVar[str] = "record"

    record: dict[str, Any]
    """As ``run --records`` writes it (`core.record.Record.as_json`)."""


@dataclass(frozen=True, slots=True)
class Missed:
    """So many records were dropped here, since the client had not read those before."""

    type: ClassVar[str] = "missed"

    count: int


@dataclass(frozen=True, slots=True)
class Asking:
    """From here on questions follow: first those asked now."""

    type: ClassVar[str] = "asking"

    rights: tuple[str, ...]
    """What this client may do (values of `Right`)."""
    mode: str
    mode_left_s: float | None
    timeout_s: float
    """How long a question is asked."""
    unanswered: str
    """What becomes of flows that nobody answers (allow, deny or reject)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, new or as it is now. What comes from programs is as it came: hostile."""

    type: ClassVar[str] = "question"

    number: int
    """Never given twice by one daemon."""
    since: str
    """When it was asked first, as records have it: ``2026-11-22T00:17:38.000000Z``. Of a silenced
    one, when it would have been asked last."""
    left_s: float
    """Until its time is over."""
    flows: int
    """How many wait for the answer."""
    reason: str
    """Why it is asked: ``rule``, ``default`` or ``unattributed``."""
    rule: str | None
    """The rule that wants it asked."""
    owner: dict[str, Any]
    """As in a record (``docs/control.md``)."""
    rivals: tuple[dict[str, Any], ...]
    """Others who may have sent it instead."""
    flow: dict[str, Any]
    """The first of its flows, as in a record: proto, saddr, sport, daddr, dport; icmp_type …"""
    iface: str | None
    attribution: str
    who: dict[str, str]
    """For whom an answer can be (values of `Who`), each with what it stands for here."""
    where: dict[str, str]
    """For where an answer can be (values of `Where`), each with what it stands for here."""
    times: int | None
    """Of a silenced one: how often it would have been asked; else None."""
    silently: str | None
    """Of a silenced one: what became of the last flow (allow, deny); else None."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A question is asked no longer."""

    type: ClassVar[str] = "question-ended"

    number: int
    outcome: str
    """A value of `Outcome`."""
    action: str | None
    """What was answered."""
    uid: int | None
    """Who answered."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Forget all questions: those that are asked follow once more, as far as there are any."""

    type: ClassVar[str] = "resync"


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """The mode is another one."""

    type: ClassVar[str] = "mode-changed"

    mode: str
    left_s: float | None


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """The rules are others: a reload, an answer, something revoked or expired."""

    type: ClassVar[str] = "rules-changed"

    generation: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an answer."""

    type: ClassVar[str] = "answered"

    taken: tuple[int, ...]
    """Questions that it answered; the others had ended before."""
    rules: tuple[str, ...]
    """Names of the rules that it made."""
    problem: str | None
    """Why a rule is in force only until the daemon ends: it could not be written."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The rule that an answer would make."""

    type: ClassVar[str] = "preview"

    rule: str
    """In YAML; empty if it makes none."""


@dataclass(frozen=True, slots=True)
class ModeSet:
    """The mode is as asked for."""

    type: ClassVar[str] = "mode-set"

    mode: str
    left_s: float | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a rule; nothing, if there are no problems."""

    type: ClassVar[str] = "checked"

    problems: tuple[dict[str, Any], ...]
    """Each: line and column (from 1, in the text that was sent), what, why, instead."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rule is in force."""

    type: ClassVar[str] = "rule-set"

    name: str
    problem: str | None
    """Why it is so only until the daemon ends."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """The rule is gone."""

    type: ClassVar[str] = "revoked"

    name: str


@dataclass(frozen=True, slots=True)
class Refreshing:
    """These lists are brought up to date, one after the other."""

    type: ClassVar[str] = "refreshing"

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owners:
    """With this come file descriptors (SCM_RIGHTS, unix(7)) to read, one for each name."""

    type: ClassVar[str] = "owners"

    files: tuple[str, ...]
    """What each lists: ``owners``, ``images``."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload; with a problem, the old rules stay in force."""

    type: ClassVar[str] = "reloaded"

    generation: int
    rules: int
    cut_flows: int
    """Established flows that the new rules refuse, and that were cut."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon stops, asked by this client or by somebody else."""

    type: ClassVar[str] = "stopping"


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not carried out."""

    type: ClassVar[str] = "refused"

    why: str
    """A value of `Why`, or one of a later version."""
    text: str


Reply = (
    Status
    | Watching
    | Recorded
    | Missed
    | Owners
    | Asking
    | Asked
    | Ended
    | Resync
    | ModeChanged
    | RulesChanged
    | Answered
    | Preview
    | Silenced
    | ModeSet
    | Rules
    | Checked
    | RuleSet
    | Revoked
    | History
    | Connections
    | KnownNames
    | Lists
    | Listed
    | Refreshing
    | Reloaded
    | Stopping
    | Refused
)

REPLIES: dict[str, type[Reply]] = {each.type: each for each in get_args(Reply)}
"""What the daemon may send."""

UNASKED: tuple[type[Reply], ...] = (
    *(Recorded, Missed, Asked, Ended, Resync, ModeChanged, RulesChanged, Stopping),
)
"""What comes by itself; everything else is an answer, in the order of the requests."""
