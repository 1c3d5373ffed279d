"""What each key does."""

from __future__ import annotations

from collections.abc import Callable

from nfsnitch.core.text import shown
from nfsnitch.prompt.panes import ConfirmPane, HelpPane, ModePane, Pane, UntilPane
from nfsnitch.prompt.rule_pane import Edit, Keep, RulePane
from nfsnitch.prompt.session import Session
from nfsnitch.protocol import UNTIL, Asked, Say

ANSWERS = {"a": Say.ALLOW, "d": Say.DENY, "r": Say.REJECT, "s": Say.DISMISS}
_PAGE_LINES = 5


class Prompter:
    """A session at which a person presses keys.

    A key is the character that it writes, or one of up, down, pageup, pagedown, enter, escape and
    backspace.
    """

    def __init__(self, session: Session, edit: Edit, keep: Keep) -> None:
        self.session = session
        self.pane: Pane | None = None
        """What stands in the place of the question, if anything does."""
        self.scrolled = 0
        """So many lines of what is to be read are above the first one shown."""
        self.shows_all = False
        """Whether long facts are shown whole."""
        self.wants_to_quit = False
        self._edit, self._keep = edit, keep
        self._seen: int | None = None
        session.on_ended = self._question_ended
        self._keys: dict[str, Callable[[], None]] = {
            "q": self._quit,
            "?": lambda: self._open(HelpPane()),
            "m": lambda: self._open(ModePane(session)),
            "j": lambda: self._move(1),
            "down": lambda: self._move(1),
            "k": lambda: self._move(-1),
            "up": lambda: self._move(-1),
            " ": session.board.select,
            "w": lambda: self._choose(session.choices.next_who),
            "e": lambda: self._choose(session.choices.next_where),
            "t": lambda: self._choose_duration(1),
            "T": lambda: self._choose_duration(-1),
            "p": lambda: self._look_at_rule(edit_at_once=False),
            "E": lambda: self._look_at_rule(edit_at_once=True),
            "v": self._show_all,
            "pagedown": lambda: self._scroll(_PAGE_LINES),
            "pageup": lambda: self._scroll(-_PAGE_LINES),
            "escape": lambda: None,
        }

    @property
    def current(self) -> Asked | None:
        """The question under the cursor."""
        waiting = self.session.board.current
        return None if waiting is None else waiting.asked

    def is_ready(self) -> bool:
        """Whether the question under the cursor may be answered already."""
        return self.session.board.is_ready(self.session.clock())

    def press(self, key: str) -> None:
        """Take a key."""
        if self.pane is not None and self._press_in_pane(self.pane, key):
            return
        if key in ANSWERS:
            self._answer(ANSWERS[key])
        elif key.lower() in ANSWERS and key.isupper():
            self._answer_several(ANSWERS[key.lower()])
        elif key in self._keys:
            self._keys[key]()
        elif key.isdecimal() or key in {"enter", "backspace"}:
            pass
        else:
            self.session.notice(f"{shown(key[:20])} means nothing here; ? says what does")

    def choose(self, duration: str) -> None:
        """Set for how long the next answer is good."""
        self.session.choices.duration = duration
        self._chosen()

    def leave(self) -> None:
        """Keep what was edited: this is the end."""
        self._open(None)

    def looked(self) -> None:
        """Begin at the first line again, if another question has come under the cursor."""
        number = None if self.current is None else self.current.number
        if number != self._seen:
            self._seen, self.scrolled, self.shows_all = number, 0, False

    def _press_in_pane(self, pane: Pane, key: str) -> bool:
        if isinstance(pane, RulePane) and key == "enter" and self._is_too_early():
            return True
        if not pane.press(key):
            return False
        if pane.is_over() and self.pane is pane:
            self._open(None)
        return True

    def _open(self, pane: Pane | None) -> None:
        if isinstance(self.pane, RulePane):
            self.pane.close()
        if pane is None and self.pane is not None:
            self.session.board.look_again(self.session.clock())
        self.pane, self.scrolled = pane, 0

    def _quit(self) -> None:
        self.leave()
        self.wants_to_quit = True

    def _answer(self, action: Say) -> None:
        current = self.current
        if current is None:
            self.session.notice("nothing is asked")
        elif not self._is_too_early():
            self.session.answer([current], action)
            if isinstance(self.pane, RulePane):
                self._open(None)

    def _answer_several(self, action: Say) -> None:
        meant = [each.asked for each in self.session.board.meant()]
        if not meant:
            self.session.notice("nothing is asked")
        elif not self.session.may_answer:
            self.session.notice("you may look only: you have no right to answer")
        elif self.session.choices.duration == UNTIL:
            self._until()
        elif not self._is_too_early():
            self._open(ConfirmPane(self.session, meant, action))

    def _is_too_early(self) -> bool:
        if self.is_ready():
            return False
        self.session.notice("too early: nobody has read this question yet; nothing answered")
        return True

    def _move(self, step: int) -> None:
        if isinstance(self.pane, RulePane):
            self._open(None)
        self.session.board.move(step, self.session.clock())

    def _choose(self, choose: Callable[[Asked], None]) -> None:
        if self.current is not None:
            choose(self.current)
            self._chosen()

    def _choose_duration(self, step: int) -> None:
        self.session.choices.next_duration(step)
        if self.session.choices.duration == UNTIL:
            self._until()
        else:
            self._chosen()

    def _until(self) -> None:
        self._open(UntilPane(self.session, self._chosen))

    def _chosen(self) -> None:
        if isinstance(self.pane, RulePane):
            self.pane.look()

    def _look_at_rule(self, *, edit_at_once: bool) -> None:
        if self.current is None:
            self.session.notice("nothing is asked")
            return
        pane = RulePane(self.session, self.current, self._edit, self._keep)
        pane.edit_at_once = edit_at_once
        self._open(pane)

    def _show_all(self) -> None:
        self.shows_all = not self.shows_all
        self.scrolled = 0

    def _scroll(self, lines: int) -> None:
        self.scrolled = max(0, self.scrolled + lines)

    def _question_ended(self, number: int) -> None:
        if isinstance(self.pane, RulePane) and self.pane.asked.number == number:
            self._open(None)
