"""What a rule says, what the kernel gets, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nfsnitch.core.listing import Entry


class Action(StrEnum):
    """What a rule says."""

    __hash__ = str.__hash__  # `Enum`'s own is slow

    ALLOW = "allow"
    DENY = "deny"
    REJECT = "reject"
    ASK = "ask"


class Verdict(StrEnum):
    """What the kernel gets."""

    __hash__ = str.__hash__  # `Enum`'s own is slow

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    """Refused aloud: TCP reset or ICMP administratively prohibited."""
    PEEK = "peek"
    """Accepted, and so is the rest of its flow for as long as that has no data: this is judged."""


VERDICTS: dict[Action, Verdict] = {
    Action.ALLOW: Verdict.ACCEPT,
    Action.DENY: Verdict.DROP,
    Action.REJECT: Verdict.REJECT,
}
"""`Action.ASK` has none of its own: it waits for an answer or for its time to be over."""


STRICTNESS = (Action.ALLOW, Action.ASK, Action.REJECT, Action.DENY)
"""From the mildest to the strictest, for a packet that may have been one or another owner's."""


class Reason(StrEnum):
    """Why a verdict is what it is."""

    RULE = "rule"
    DEFAULT = "default"
    UNATTRIBUTED = "unattributed"
    """No rule matched and the owner is not known: the rule file's `unattributed` action."""
    UNANSWERED = "unanswered"
    """Held, and nobody answered in time."""
    ANSWERED = "answered"
    """Held, and somebody answered, for this once."""
    DISMISSED = "dismissed"
    """Held, and somebody wanted it decided without an answer, as if nobody had answered in time."""
    OWN = "own"
    """nfsnitch itself fetches a list that a rule file names."""
    SILENT = "silent"
    """Nobody is asked in this mode."""
    GONE = "gone"
    """Held, and its program closed the connection before anybody had answered."""
    HELD_LIMIT = "held-limit"
    """Should have been held, but as many flows or packets as may be are held already."""
    UNNAMED = "unnamed"
    """A rule depends on the host's name, and that could not be told: its `on_unknown_name`."""
    NAME_AWAITED = "name-awaited"
    """It depends on the host's name, and the flow's first data may say that: not decided yet."""
    UNIDENTIFIED = "unidentified"
    """A rule depends on which binary it is, by its hash, and that could not be told (in time)."""
    STOPPING = "stopping"
    """Held while the daemon stopped."""
    MALFORMED = "malformed"
    """The packet could not be read."""
    ERROR = "error"
    """The daemon failed on this packet; it fails closed."""
    QUESTION = "question"
    """A rule refuses to have this name asked for, or what is asked for could not be read."""
    CUT = "cut"
    """It was under way already when the rules came to refuse it."""
    UNREFUSABLE = "unrefusable"
    """A rule refuses to have this socket opened, and here nothing can: it was opened."""
    OLDER = "older"
    """The socket had been opened before the daemon started: nobody was asked."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdict, reason and rule of one flow."""

    verdict: Verdict
    action: Action
    """What the rule (or default) said; `Action.ASK` for a flow that had been held."""
    reason: Reason
    rule: str | None
    """The deciding rule's name; None where no rule decided."""
    entry: Entry | None = None
    """The line of a list by which that rule matched."""
