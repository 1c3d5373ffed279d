"""The prompter without its terminal: what is asked, what is answered, and what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol

from nfsnitch.control_client import ControlError, NotAllowedError
from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.board import Board, Waiting
from nfsnitch.prompt.choices import Choices
from nfsnitch.prompt.durations import in_words
from nfsnitch.prompt.words import DONE, ENDED, in_short, user_name
from nfsnitch.protocol import (
    MOST_ANSWERED,
    UNTIL,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    Ended,
    ModeChanged,
    ModeRequest,
    ModeSet,
    Outcome,
    QuestionsRequest,
    Refused,
    Reply,
    Request,
    Resync,
    Right,
    Say,
    Stopping,
    Why,
)

Hear = Callable[[Reply], None]
Ask = Callable[[Request, Hear], None]
"""Sends a request; what is answered goes to the second argument."""


class Then(Protocol):
    """Hears what became of an answer."""

    def __call__(self, *, is_taken: bool) -> None:
        """Take note of it."""


GUARD_S = 0.7
"""So long nobody can have read a question that has only just come under the cursor."""
_MOST_NOTICES = 200


class Notice(NamedTuple):
    """Something that has happened."""

    time: str
    text: str


class Session:
    """What one person at one terminal sees of the daemon's questions, and says to them."""

    def __init__(self, clock: Callable[[], float], guard_s: float = GUARD_S) -> None:
        self.clock = clock
        self.board = Board(guard_s)
        self.choices = Choices()
        self.notices: deque[Notice] = deque(maxlen=_MOST_NOTICES)
        self.kept: list[str] = []
        """Where texts are that somebody has written and that were not taken."""
        self.noticed = 0
        """How many notices there have ever been."""
        self.asking: Asking | None = None
        """What the daemon said of itself; None without a daemon."""
        self.has_stopped = False
        """The daemon has said goodbye."""
        self.on_ended: Callable[[int], None] = lambda _number: None
        self.on_new: Callable[[], None] = lambda: None
        self._ask: Ask | None = None
        self._mode_until_s: float | None = None
        self._answering: set[int] = set()
        """Answered here; whether that came first is not known yet."""
        self._ended_while_answering: dict[int, tuple[Waiting | None, Ended]] = {}
        self._ours: set[int] = set()
        """Ended by us; the daemon has not said so to everybody yet."""

    @property
    def may_answer(self) -> bool:
        """Whether this client may do more than look."""
        return self.asking is not None and Right.ANSWER in self.asking.rights

    @property
    def mode(self) -> str:
        """What becomes of connections that have to be asked about."""
        return "" if self.asking is None else self.asking.mode

    def mode_left_s(self) -> float | None:
        """Return how long the mode holds; None if it does until somebody sets it."""
        until_s = self._mode_until_s
        return None if until_s is None else max(0.0, until_s - self.clock())

    def connected(self, ask: Ask) -> None:
        """Begin with a daemon."""
        self._ask, self.has_stopped = ask, False
        ask(QuestionsRequest(), self._begin)

    def lost(self) -> None:
        """End with a daemon that is gone."""
        self._ask = self.asking = self._mode_until_s = None
        self._answering.clear()
        self._ended_while_answering.clear()
        self._ours.clear()
        for each in list(self.board):
            self.on_ended(each.asked.number)
        self.board.clear()
        self.notice("the daemon has stopped" if self.has_stopped else "the daemon is gone")

    def notice(self, text: str) -> None:
        """Tell of something; *text* is harmless already."""
        self.notices.append(Notice(f"{datetime.now(UTC).astimezone():%H:%M:%S}", text))
        self.noticed += 1

    def is_answering(self, number: int) -> bool:
        """Whether a question has been answered here, and the daemon has not said how that went."""
        return number in self._answering or number in self._ours

    def ask(self, request: Request, then: Hear) -> None:
        """Ask the daemon; a refusal becomes a notice, anything else goes to *then*."""
        if self._ask is None:
            self.notice("there is no daemon to ask")
            return

        def hear(reply: Reply) -> None:
            if isinstance(reply, Refused):
                self.notice(f"refused: {shown(reply.text)}")
            else:
                then(reply)

        self._ask(request, hear)

    def set_mode(self, mode: str, for_s: float | None) -> None:
        """Have the daemon ask, or decide silently."""
        if not self.may_answer:
            self.notice("you may look only: the mode is for those who may answer")
            return
        self.ask(ModeRequest(mode, for_s), self.hear)

    def answer(
        self,
        questions: Iterable[Asked],
        action: Say,
        rule: str | None = None,
        then: Then = lambda *, is_taken: None,  # noqa: ARG005  named by the protocol
    ) -> None:
        """Answer questions by what has been chosen, each with the choice it offers.

        *then* hears whether that was in time, and was taken.
        """
        if not self.may_answer:
            self.notice("you may look only: you have no right to answer")
            return
        if self.choices.duration == UNTIL:
            self.notice("until when? press t and write a time")
            return
        alike: dict[tuple[str, str], list[int]] = {}
        for each in questions:
            if not self.is_answering(each.number):
                scope = (self.choices.who_for(each), self.choices.where_for(each))
                alike.setdefault(scope, []).append(each.number)
        for scope, numbers in alike.items():
            for first in range(0, len(numbers), MOST_ANSWERED):
                some = tuple(numbers[first : first + MOST_ANSWERED])
                request = AnswerRequest(some, action, *scope, self.choices.duration, rule)
                self._answer(request, then)

    def hear(self, reply: Reply) -> None:
        """Take what the daemon says.

        Raises:
            ControlError: it does not want to go on.

        """
        match reply:
            case Asked():
                if self.board.put(reply, self.clock()):
                    self.on_new()
            case Ended():
                self._hear_ended(reply)
            case Resync():
                self.board.clear()
            case ModeChanged() | ModeSet():
                self._hear_mode(reply.mode, reply.left_s)
            case Stopping():
                self.has_stopped = True
            case Refused():
                raise _refusal(reply)
            case _:
                pass

    def _begin(self, reply: Reply) -> None:
        if isinstance(reply, Refused):
            raise _refusal(reply)
        if not isinstance(reply, Asking):
            raise ControlError(f"the daemon answered questions with {reply.type}")
        self.asking = reply
        self._set_mode_left(reply.mode_left_s)
        if not self.may_answer:
            self.notice("you may look only: you have no right to answer")

    def _hear_mode(self, mode: str, left_s: float | None) -> None:
        if self.asking is None:
            return
        is_news = mode != self.asking.mode or (left_s is None) != (self._mode_until_s is None)
        self.asking = _with_mode(self.asking, mode)
        self._set_mode_left(left_s)
        if is_news:
            self.notice(f"the mode is {shown(mode)} now{_for(left_s)}")

    def _set_mode_left(self, left_s: float | None) -> None:
        self._mode_until_s = None if left_s is None else self.clock() + left_s

    def _answer(self, request: AnswerRequest, then: Then) -> None:
        names = {each.asked.number: in_short(each.asked) for each in self.board}
        self._answering |= set(request.questions)
        if self._ask is not None:
            self._ask(request, partial(self._hear_answered, request, names, then))

    def _hear_answered(
        self, request: AnswerRequest, names: dict[int, str], then: Then, reply: Reply
    ) -> None:
        self._answering -= set(request.questions)
        taken = reply.taken if isinstance(reply, Answered) else ()
        if isinstance(reply, Refused):
            self.notice(f"not answered: {shown(reply.text)}")
        elif isinstance(reply, Answered):
            self._tell_answered(request, names, reply)
        for number in request.questions:
            ended = self._ended_while_answering.pop(number, None)
            if ended is not None and number not in taken:
                self._tell_ended(*ended)
            elif ended is None and number in taken:
                self._ours.add(number)
        then(is_taken=len(taken) == len(request.questions))

    def _tell_answered(
        self, request: AnswerRequest, names: dict[int, str], reply: Answered
    ) -> None:
        how_long = in_words(request.duration).partition(":")[0]
        for_how_long = "" if request.action == Say.DISMISS else f", {how_long}"
        what = f"{DONE[Say(request.action)]} by you{for_how_long}"
        if len(reply.taken) == 1:
            self.notice(f"{reply.taken[0]} {names.get(reply.taken[0], '')}: {what}")
        elif reply.taken:
            self.notice(f"{len(reply.taken)} questions: {what}")
        if reply.rules:
            more = f" and {len(reply.rules) - 1} more" if len(reply.rules) > 1 else ""
            self.notice(f"made rule '{shown(reply.rules[0][:200])}'{more}")
        if reply.problem is not None:
            self.notice(f"only until the daemon ends: {shown(reply.problem)}")
        late = len(request.questions) - len(reply.taken)
        if late > 0:
            self.notice(f"too late for {counted(late, 'question')}: ended before your answer")

    def _hear_ended(self, ended: Ended) -> None:
        was = self.board.end(ended.number, self.clock())
        self.on_ended(ended.number)
        if ended.number in self._ours:
            self._ours.discard(ended.number)
        elif ended.number in self._answering:
            self._ended_while_answering[ended.number] = (was, ended)
        else:
            self._tell_ended(was, ended)

    def _tell_ended(self, was: Waiting | None, ended: Ended) -> None:
        name = f"{ended.number} {in_short(was.asked)}" if was else f"question {ended.number}"
        how = ENDED.get(Outcome(ended.outcome)) if ended.outcome in ENDED else None
        what = how or shown(ended.outcome)
        if ended.outcome == Outcome.ANSWERED and ended.action in DONE:
            what = DONE[Say(ended.action)]
        if ended.outcome in {Outcome.ANSWERED, Outcome.DISMISSED}:
            what += f" elsewhere, by {user_name(ended.uid)}"
        elif ended.outcome == Outcome.UNANSWERED and self.asking is not None:
            what += f": {shown(self.asking.unanswered)}"
        self.notice(f"{name}: {what}")


def _refusal(reply: Refused) -> ControlError:
    kind = NotAllowedError if reply.why == Why.NOT_ALLOWED else ControlError
    return kind(shown(reply.text))


def _with_mode(asking: Asking, mode: str) -> Asking:
    return Asking(asking.rights, mode, None, asking.timeout_s, asking.unanswered)


def _for(left_s: float | None) -> str:
    return "" if left_s is None else f" for {left_s / 60:.0f} minutes"
