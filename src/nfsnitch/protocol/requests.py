"""What clients may send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from nfsnitch.protocol.words import Right


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Say how you are. Answer: `Status`."""

    type: ClassVar[str] = "status"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Send every record from now on. Answer: `Watching`, then `Recorded` and `Missed`."""

    type: ClassVar[str] = "watch"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class OwnersRequest:
    """Let me list who owns which socket. Answer: `Owners`."""

    type: ClassVar[str] = "owners"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class QuestionsRequest:
    """Send what is asked, now and from now on.

    Answer: `Asking`, then `Asked` for each question, and `Asked`, `Ended`, `ModeChanged`,
    `RulesChanged` as they come; `Resync` where some could not be sent.
    """

    type: ClassVar[str] = "questions"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Answer questions. Answer: `Answered`; first come, first served."""

    type: ClassVar[str] = "answer"
    right: ClassVar[Right] = Right.ANSWER

    questions: tuple[int, ...]
    """From 1 to `MOST_ANSWERED`; each gets this answer. Of `Silenced` ones, too."""
    action: str
    """A value of `Say`."""
    who: str
    """A value of `Who`; of no meaning with `ONCE` and `Say.DISMISS`."""
    where: str
    """A value of `Where`; of no meaning with `ONCE` and `Say.DISMISS`."""
    duration: str
    """See `ONCE` and what comes with it."""
    rule: str | None
    """The rule in YAML as somebody has edited it, of a single question; then *who* and *where* are
    of no meaning. None: the rule that they make."""


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """Say which rule an answer would make. Answer: `Preview`."""

    type: ClassVar[str] = "preview"
    right: ClassVar[Right] = Right.WATCH

    question: int
    action: str
    who: str
    where: str
    duration: str


@dataclass(frozen=True, slots=True)
class SilencedRequest:
    """List what would have been asked in a silent mode. Answer: `Silenced`."""

    type: ClassVar[str] = "silenced"
    right: ClassVar[Right] = Right.WATCH

    first: int
    """The first one's place in the list, from 0; up to `MOST_ROWS` are listed, fewer if they are
    long."""


@dataclass(frozen=True, slots=True)
class ModeRequest:
    """Ask, or decide silently. Answer: `ModeSet`."""

    type: ClassVar[str] = "mode"
    right: ClassVar[Right] = Right.ANSWER

    mode: str
    """A value of `Mode`."""
    for_s: float | None
    """Then ask again; None: until somebody sets it."""


@dataclass(frozen=True, slots=True)
class RulesRequest:
    """List the rules in force, in order. Answer: `Rules`."""

    type: ClassVar[str] = "rules"
    right: ClassVar[Right] = Right.WATCH

    kind: str
    """A value of `RuleKind`."""
    first: int
    """The first one's place among those of its kind, from 0; up to `MOST_ROWS` are listed, fewer if
    they are long."""


@dataclass(frozen=True, slots=True)
class CheckRuleRequest:
    """Say what is wrong with a rule. Answer: `Checked`."""

    type: ClassVar[str] = "check-rule"
    right: ClassVar[Right] = Right.WATCH

    rule: str
    """In YAML, as a rule stands in a rule file, without the list's dash."""


@dataclass(frozen=True, slots=True)
class AddRuleRequest:
    """Take a rule as if an answer had made it. Answer: `RuleSet`, or `Checked` if it is wrong."""

    type: ClassVar[str] = "add-rule"
    right: ClassVar[Right] = Right.ANSWER

    rule: str
    duration: str
    """`RESTART`, `FOREVER`, until a time or for some minutes."""


@dataclass(frozen=True, slots=True)
class ChangeRuleRequest:
    """Put a rule in the place of one that an answer has made. Answer: `RuleSet` or `Checked`."""

    type: ClassVar[str] = "change-rule"
    right: ClassVar[Right] = Right.ANSWER

    name: str
    """Of the rule as it is."""
    rule: str


@dataclass(frozen=True, slots=True)
class MoveRuleRequest:
    """Move a lasting rule that an answer has made. Answer: `RuleSet`."""

    type: ClassVar[str] = "move-rule"
    right: ClassVar[Right] = Right.ANSWER

    name: str
    to: int
    """Its place among the lasting ones, from 0."""


@dataclass(frozen=True, slots=True)
class RevokeRequest:
    """Take back a rule that an answer has made. Answer: `Revoked`."""

    type: ClassVar[str] = "revoke"
    right: ClassVar[Right] = Right.ANSWER

    name: str


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """List the last records. Answer: `History`."""

    type: ClassVar[str] = "history"
    right: ClassVar[Right] = Right.WATCH

    before: int | None
    """The number of a record: those just before it; None: the last ones. Up to `MOST_ROWS` are
    listed, fewer if they are long."""


@dataclass(frozen=True, slots=True)
class ConnectionsRequest:
    """List the connections under way. Answer: `Connections`."""

    type: ClassVar[str] = "connections"
    right: ClassVar[Right] = Right.WATCH


@dataclass(frozen=True, slots=True)
class NamesRequest:
    """List the names of addresses that are known. Answer: `KnownNames`."""

    type: ClassVar[str] = "names"
    right: ClassVar[Right] = Right.WATCH

    first: int
    """The first one's place in the list, from 0; up to `MOST_NAMES` are listed, fewer if they are
    long. The list changes as programs ask for names."""


@dataclass(frozen=True, slots=True)
class ListsRequest:
    """Say how the lists are that rules use. Answer: `Lists`."""

    type: ClassVar[str] = "lists"
    right: ClassVar[Right] = Right.WATCH

    first: int
    """The first one's place, from 0; up to `MOST_ROWS` are listed, fewer if they are long."""


@dataclass(frozen=True, slots=True)
class FindListedRequest:
    """Say on which lists a name or an address is. Answer: `Listed`."""

    type: ClassVar[str] = "find-listed"
    right: ClassVar[Right] = Right.WATCH

    text: str


@dataclass(frozen=True, slots=True)
class RefreshListsRequest:
    """Bring lists up to date now. Answer: `Refreshing`, at once; `Lists` tells how far it is."""

    type: ClassVar[str] = "refresh-lists"
    right: ClassVar[Right] = Right.CONTROL

    name: str | None
    """None: all of them."""
    anyway: bool
    """Take one from the network even if far less is in it than before."""


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """Read the rules again. Answer: `Reloaded`, whether or not they could be used."""

    type: ClassVar[str] = "reload"
    right: ClassVar[Right] = Right.CONTROL


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Stop cleanly. Answer: `Stopping`; the connection ends with the daemon."""

    type: ClassVar[str] = "stop"
    right: ClassVar[Right] = Right.CONTROL


Request = (
    StatusRequest
    | WatchRequest
    | OwnersRequest
    | QuestionsRequest
    | AnswerRequest
    | PreviewRequest
    | SilencedRequest
    | ModeRequest
    | RulesRequest
    | CheckRuleRequest
    | AddRuleRequest
    | ChangeRuleRequest
    | MoveRuleRequest
    | RevokeRequest
    | HistoryRequest
    | ConnectionsRequest
    | NamesRequest
    | ListsRequest
    | FindListedRequest
    | RefreshListsRequest
    | ReloadRequest
    | StopRequest
)

REQUESTS: dict[str, type[Request]] = {each.type: each for each in get_args(Request)}
"""What clients may send. A new request is a class above and a word here."""
