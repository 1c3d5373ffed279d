"""What may stand in the place of a question for a while: help, a rule, the mode, "are you sure"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.durations import duration, in_words, seconds
from nfsnitch.prompt.session import Session
from nfsnitch.prompt.words import DONE, MODES, in_short
from nfsnitch.protocol import UNTIL, Asked, Mode, Say

HELP = {
    "a": "allow",
    "d": "deny: the program waits until its own time is over",
    "r": "reject: the program is told at once",
    "s": "dismiss: as if nobody had answered in time",
    "w e": "for whom, where to: the next choice, kept for the next question",
    "t T": "for how long: the next choice, the one before",
    "p": "the rule that an answer would make: to allow, deny, reject",
    "E": "edit that rule in $VISUAL or $EDITOR; then Enter answers with it",
    "j k": "another question, as do the arrow keys",
    "Space": "select a question",
    "A D R S": "answer all selected; without any, all of this program",
    "v": "all of the facts; PgDn and PgUp go through them",
    "m": "the mode: ask, or allow or deny silently",
    "q": "quit: the questions stay, and others can answer them",
}
_GUARD = (
    "A key that comes in the moment in which a question comes under the cursor answers nothing."
)
_KEY_COLUMNS = 9
_SILENT_FOR = ("5m", "15m", "60m", "")
_MOST_LISTED = 5
_MOST_CHARACTERS = 40


class Pane(Protocol):
    """Something that stands in the question's place and has the keys first."""

    @property
    def title(self) -> str:
        """What stands here, in a few words."""

    @property
    def keys(self) -> str:
        """What can be pressed, in a line."""

    def lines(self) -> Iterator[str]:
        """Yield what is to be read; harmless, of any length."""

    def press(self, key: str) -> bool:
        """Take a key; False if it means nothing here."""

    def is_over(self) -> bool:
        """Whether it is of no use any more."""


class HelpPane:
    """What each key does."""

    title = "keys"
    keys = "Esc or any key: back"

    def __init__(self) -> None:
        self._is_over = False

    def lines(self) -> Iterator[str]:
        """Yield the keys."""
        for key, text in HELP.items():
            yield f"{key:<{_KEY_COLUMNS}}{text}"
        yield ""
        yield _GUARD

    def press(self, key: str) -> bool:
        """Go back with any key but those that show more lines."""
        self._is_over = key not in {"pagedown", "pageup"}
        return self._is_over

    def is_over(self) -> bool:
        """Whether a key was pressed."""
        return self._is_over


class ConfirmPane:
    """Are you sure: several questions are answered at once."""

    keys = "y: yes    any other key: no"

    def __init__(self, session: Session, questions: list[Asked], action: Say) -> None:
        self._session, self._questions, self._action = session, questions, action
        self.title = f"{counted(len(questions), 'question')}: {DONE[action]}?"
        self._is_over = False

    def lines(self) -> Iterator[str]:
        """Yield what is going to happen."""
        yield f"Answer {counted(len(self._questions), 'question')}: {self._action}"
        if self._action is not Say.DISMISS:
            yield in_words(self._session.choices.duration)
        yield ""
        for each in self._questions[:_MOST_LISTED]:
            yield f"{each.number}  {in_short(each)}"
        more = len(self._questions) - _MOST_LISTED
        if more > 0:
            yield f"… and {more} more"

    def press(self, key: str) -> bool:
        """Answer them with y."""
        if key == "y":
            self._session.answer(self._questions, self._action)
        elif key in {"pagedown", "pageup"}:
            return False
        else:
            self._session.notice("nothing answered")
        self._is_over = True
        return True

    def is_over(self) -> bool:
        """Whether it is decided."""
        return self._is_over


class ModePane:
    """Ask, or decide silently for a while."""

    title = "mode"
    keys = "1 2 3: set    t: for how long    Esc: back"

    def __init__(self, session: Session) -> None:
        self._session = session
        self._for = _SILENT_FOR[1]
        self._is_over = False

    def lines(self) -> Iterator[str]:
        """Yield the modes."""
        yield "What becomes of connections that have to be asked about:"
        yield ""
        for number, mode in enumerate(Mode, 1):
            mark = ">" if mode == self._session.mode else " "
            yield f"{mark} {number}  {mode}: {MODES[mode]}"
        yield ""
        until = f"for {self._for}, then it asks again" if self._for else "until somebody sets it"
        yield f"  t  silently {until}"

    def press(self, key: str) -> bool:
        """Set the mode, or the time."""
        if key == "t":
            self._for = _SILENT_FOR[(_SILENT_FOR.index(self._for) + 1) % len(_SILENT_FOR)]
        elif key in {"1", "2", "3"}:
            mode = tuple(Mode)[int(key) - 1]
            for_s = seconds(self._for) if self._for and mode is not Mode.ASK else None
            self._session.set_mode(mode, for_s)
            self._is_over = True
        elif key in {"escape", "m"}:
            self._is_over = True
        return True

    def is_over(self) -> bool:
        """Whether it is set, or left."""
        return self._is_over


class UntilPane:
    """Until when: a line to write."""

    title = "until when?"
    keys = "Enter: take it    Esc: no"

    def __init__(self, session: Session, then: Callable[[], None]) -> None:
        self._session, self._then = session, then
        self._typed = ""
        self._problem = ""
        self._is_over = False

    def lines(self) -> Iterator[str]:
        """Yield what is typed so far."""
        yield "A time of day, or a date and a time: 18:00, 2030-06-30, 2030-06-30T18:00"
        yield ""
        yield f"until {shown(self._typed)}_"
        if self._problem:
            yield ""
            yield self._problem

    def press(self, key: str) -> bool:
        """Write on, take it, or leave."""
        if key == "escape":
            self._is_over = True
            self._session.choices.next_duration()
        elif key == "enter":
            self._take()
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif len(key) == 1 and len(self._typed) < _MOST_CHARACTERS:
            self._typed += key
        return True

    def _take(self) -> None:
        try:
            self._session.choices.duration = duration(f"{UNTIL} {self._typed}")
        except ValueError as error:
            self._problem = str(error)
            return
        self._is_over = True
        self._then()

    def is_over(self) -> bool:
        """Whether a time was given, or none."""
        return self._is_over
