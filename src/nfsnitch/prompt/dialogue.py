"""The prompter on a terminal that cannot be drawn on: a question is printed, a line is read."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from nfsnitch.control_client import ControlError, NotRunningError
from nfsnitch.core.text import shown
from nfsnitch.prompt.board import Waiting
from nfsnitch.prompt.columns import wrapped
from nfsnitch.prompt.drafts import edited, kept
from nfsnitch.prompt.durations import duration
from nfsnitch.prompt.ending import AGAIN_S, Ending, Options, failed, left, lost
from nfsnitch.prompt.link import Link
from nfsnitch.prompt.panes import HelpPane, Pane, UntilPane
from nfsnitch.prompt.picture import choice_lines, question_lines
from nfsnitch.prompt.prompter import Prompter
from nfsnitch.prompt.rule_pane import RulePane
from nfsnitch.prompt.session import Session
from nfsnitch.prompt.words import in_short
from nfsnitch.protocol import UNTIL

_READ_BYTES = 4_096
_LONGEST_LINE = 1_000
_NARROWEST = 30
_ASK = "a allow, d deny, r reject, s dismiss, l list, ? help, q quit"
_LOOK = "you may look only: l list, ? help, q quit"
_NO_QUESTION = (0, 0.0)
_WORDS = {"x": "escape", "+": " "}
_LINES = """\

Write one of these keys and Enter; beside it, if you like, for whom, for where and for how long:
    a                       allow, once
    forever d               deny, with a rule
    user anywhere 15m a     allow this user everything, for 15 minutes
    until 18:00 a           allow until then
    4                       look at question 4
    l                       list the questions
    +                       select this one (instead of Space)
    x                       back (instead of Esc)"""


class Dialogue:
    """Questions and answers, line by line."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._options = path, options
        self._session = Session(time.monotonic, options.guard_s)
        self._session.on_new = self._ring
        self._prompter = Prompter(self._session, self._edit, kept)
        self._link: Link | None = None
        self._typed = b""
        self._is_waiting = False
        """For a daemon; that has been said."""
        self._question: tuple[int, float] | None = None
        """Which question was printed last, and from when on it may be answered."""
        self._choices: tuple[str, ...] = ()
        """What was printed last of what can be chosen."""
        self._pane: tuple[str, ...] = ()
        """What was printed last in the question's place."""
        self._noticed = 0
        """So many notices have been printed."""
        self._has_taken_line = False

    def run(self) -> Ending:
        """Ask until the person leaves or the daemon is gone; return how it ended."""
        try:
            ending = self._run()
        except ControlError as error:
            ending = failed(error)
        finally:
            self._hang_up()
        self._prompter.leave()
        return ending._replace(kept=tuple(self._session.kept))

    def _run(self) -> Ending:
        self._forget_typed()
        while not self._prompter.wants_to_quit:
            if self._link is None:
                self._connect()
            self._tell()
            if not self._wait():
                return left(self._session)
            if self._link is None and not self._options.follows:
                return lost(self._session)
        return left(self._session)

    def _connect(self) -> None:
        try:
            self._link = Link(self._path, self._session.hear)
        except NotRunningError:
            if not self._options.follows:
                raise
            if not self._is_waiting:
                _write("no daemon; waiting for one")
            self._is_waiting = True
            return
        self._is_waiting = False
        self._session.connected(self._link.ask)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _wait(self) -> bool:
        """Take what comes next, a line or a message; False if there will be no more lines."""
        poll = select.poll()
        poll.register(sys.stdin, select.POLLIN)
        if self._link is not None:
            poll.register(self._link.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._timeout_ms())}
        if self._link is not None and self._link.fileno() in ready:
            self._hear(self._link)
        return sys.stdin.fileno() not in ready or self._read_lines()

    def _timeout_ms(self) -> int | None:
        return int(AGAIN_S * 1_000) if self._link is None else None

    def _hear(self, link: Link) -> None:
        if not link.read():
            self._hang_up()
            self._session.lost()

    def _read_lines(self) -> bool:
        data = os.read(sys.stdin.fileno(), _READ_BYTES)
        *lines, self._typed = (self._typed + data).split(b"\n")
        self._typed = self._typed[:_LONGEST_LINE]
        self._has_taken_line = bool(lines)
        for line in lines:
            self._take(line.decode("utf-8", "replace")[:_LONGEST_LINE])
        return bool(data)

    def _take(self, line: str) -> None:
        """Do what a line says; words that choose come first, whatever their place."""
        if isinstance(self._prompter.pane, UntilPane):
            for key in (*line.strip(), "enter"):
                self._prompter.press(key)
            return
        words = iter(line.split())
        keys = [word for word in words if not self._has_chosen(word, words)]
        for word in keys:
            if word.isdecimal() and self._prompter.pane is None:
                self._go_to(int(word[:18]))
            elif word in _WORDS:
                self._prompter.press(_WORDS[word])
            elif word == "l":
                self._list()
            elif len(word) == 1:
                self._prompter.press(word)
            else:
                self._session.notice(f"{shown(word[:40])} means nothing here; ? says what does")
        if not line.strip() and self._prompter.pane is not None:
            self._prompter.press("enter")

    def _has_chosen(self, word: str, words: Iterator[str]) -> bool:
        asked = self._prompter.current
        choices = self._session.choices
        if asked is not None and word in asked.who:
            choices.who = word
        elif asked is not None and word in asked.where:
            choices.where = word
        else:
            try:
                text = " ".join((word, next(words, ""))) if word == UNTIL else word
                self._prompter.choose(duration(text))
            except ValueError:
                return False
        return True

    def _go_to(self, number: int) -> None:
        places = [each.asked.number for each in self._session.board]
        if number in places:
            step = places.index(number) - self._session.board.place
            self._session.board.move(step, self._session.clock())
        else:
            self._session.notice(f"there is no question {number}")

    def _list(self) -> None:
        for each in self._session.board:
            left_s = max(0.0, each.until_s - self._session.clock())
            _write(f"  {each.asked.number}  {in_short(each.asked)}  {left_s:.0f} s")
        if not len(self._session.board):
            _write("nothing is asked")

    def _tell(self) -> None:
        """Print what is new: what has happened, and the question, if it is another one."""
        new = self._session.noticed - self._noticed
        for notice in list(self._session.notices)[-new:] if new else ():
            _write(f"{notice.time}  {notice.text}")
        self._noticed = self._session.noticed
        if self._session.asking is None:
            return
        pane, waiting = self._prompter.pane, self._session.board.current
        if pane is not None:
            self._tell_pane(pane)
        elif waiting is not None:
            self._tell_question(waiting)
        elif self._has_taken_line or self._question is None:
            self._question = _NO_QUESTION
            _write("nothing is asked: ? help, q quit")
        self._has_taken_line = False

    def _tell_question(self, waiting: Waiting) -> None:
        question = (waiting.asked.number, self._session.board.ready_s)
        chosen = self._session.choices
        choices = (chosen.who, chosen.where, chosen.duration)
        self._pane = ()
        if self._session.is_answering(waiting.asked.number):
            return
        if question != self._question:
            # A line that is half typed was meant for something else.
            self._forget_typed()
            _write("\n" + "\n".join(question_lines(self._prompter, _columns())))
        elif choices == self._choices and not self._has_taken_line:
            return
        if (question, choices) != (self._question, self._choices):
            _write("\n".join(choice_lines(self._prompter, _columns())))
        self._question, self._choices = question, choices
        _write(self._asks(waiting))

    def _asks(self, waiting: Waiting) -> str:
        more = len(self._session.board) - 1
        name = f"question {waiting.asked.number}" + (f", {more} more wait" if more else "")
        return f"{name}: {_ASK if self._session.may_answer else _LOOK}"

    def _tell_pane(self, pane: Pane) -> None:
        """Print what stands in the question's place, once it is known."""
        content = (*pane.lines(), pane.keys)
        if content == self._pane or (isinstance(pane, RulePane) and pane.is_waiting):
            return
        self._pane = content
        _write("")
        for line in content[:-1]:
            for each in wrapped(line, _columns()):
                _write(each)
        if isinstance(pane, HelpPane):
            _write(_LINES)
        else:
            _write(pane.keys.replace("Esc", "x").replace("Enter", "an empty line"))

    def _ring(self) -> None:
        if self._options.rings and len(self._session.board) == 1:
            sys.stdout.write("\a")

    def _edit(self, text: str, then: Callable[[str | None], None]) -> None:
        changed = edited(text, self._session.notice)
        self._forget_typed()
        then(changed)

    def _forget_typed(self) -> None:
        """Forget what was typed before anybody could see anything here."""
        self._typed = b""
        with suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def _columns() -> int:
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
