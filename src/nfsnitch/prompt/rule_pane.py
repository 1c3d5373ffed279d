"""The rule that an answer would make: to look at, to edit, and to answer with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from nfsnitch.core.text import shown
from nfsnitch.prompt.session import Session
from nfsnitch.protocol import (
    Asked,
    Checked,
    CheckRuleRequest,
    Preview,
    PreviewRequest,
    Reply,
    Say,
)

Edit = Callable[[str, Callable[[str | None], None]], None]
"""Lets a person edit a text; the second argument gets what has become of it, None if nothing."""
Keep = Callable[[str], str]
"""Writes a text where it is not lost, and returns where."""
_ACTIONS = (Say.ALLOW, Say.DENY, Say.REJECT)
_MOST_CHARACTERS = 2_000
"""Of a line."""
_ACTION_LINE = re.compile(r"^action:\s*[\"']?(allow|deny|reject)\b", re.MULTILINE)


class RulePane:
    """A rule that is not in force yet."""

    def __init__(self, session: Session, asked: Asked, edit: Edit, keep: Keep) -> None:
        self.asked = asked
        self._session, self._edit, self._keep = session, edit, keep
        self._action = Say.ALLOW
        self._rule: str | None = None
        """None: the daemon has not said yet."""
        self._edited: str | None = None
        self._problems: tuple[dict[str, Any], ...] | None = None
        """None: the daemon has not said yet."""
        self._is_over = False
        self.edit_at_once = False
        self.look()

    @property
    def title(self) -> str:
        """What stands here."""
        if self._edited is not None:
            return "your rule"
        return f"the rule, if you {self._action}"

    @property
    def is_edited(self) -> bool:
        """Whether it is the person's own by now."""
        return self._edited is not None

    @property
    def is_waiting(self) -> bool:
        """Whether the daemon is still to say which rule it is, or what is wrong with it."""
        return (self._rule if self._edited is None else self._problems) is None

    @property
    def keys(self) -> str:
        """What can be pressed."""
        if self._edited is None:
            return "a d r: answer    p: next action    E: edit    Esc: back"
        if self._problems == ():
            return "Enter: answer with it    E: edit on    Esc: drop it"
        if self._problems is None:
            return "a moment: the daemon looks at it"
        return "E: edit again    Esc: drop it"

    def lines(self) -> Iterator[str]:
        """Yield the rule, and what is wrong with it."""
        text = self._rule if self._edited is None else self._edited
        if text is None:
            yield "…"
            return
        if not text.strip():
            yield "none: the answer is for the connections that wait now (t: longer)"
        yield from map(_line, text.splitlines())
        for each in self._problems or ():
            yield ""
            yield problem_line(each)

    def press(self, key: str) -> bool:
        """Take a key."""
        if key == "escape":
            self.close()
        elif key == "E":
            self.edit()
        elif key == "p" and self._edited is None:
            self._next_action()
        elif self._edited is not None and key == "enter":
            self._answer()
        elif self._edited is not None and key in set("adrswetT"):
            self._session.notice("Enter answers with the rule as you wrote it, Esc drops it")
        else:
            return False
        return True

    def look(self) -> None:
        """Ask the daemon for the rule, since something else has been chosen."""
        if self._edited is not None:
            return
        choices = self._session.choices
        who, where = choices.who_for(self.asked), choices.where_for(self.asked)
        request = PreviewRequest(self.asked.number, self._action, who, where, choices.duration)
        self._session.ask(request, self._previewed)

    def edit(self) -> None:
        """Let the person edit the rule."""
        text = self._rule if self._edited is None else self._edited
        if not text:
            self._session.notice("once makes no rule: press t for longer, then E")
            return
        self._edit(text, self._take_edited)

    def close(self) -> None:
        """Make room for something else; what was edited is kept."""
        if self._edited is not None and not self._is_over:
            self._session.notice(f"not answered with, {self._kept()}")
        self._is_over = True

    def is_over(self) -> bool:
        """Whether it is answered, or dropped."""
        return self._is_over

    def _previewed(self, reply: Reply) -> None:
        if isinstance(reply, Preview) and self._edited is None:
            self._rule = reply.rule
            if self.edit_at_once:
                self.edit_at_once = False
                self.edit()

    def _take_edited(self, text: str | None) -> None:
        if text is None or text == (self._rule if self._edited is None else self._edited):
            self._session.notice("the rule is as it was")
            return
        self._edited, self._problems = text, None
        if self._is_over:
            self._session.notice(f"question {self.asked.number} has ended; {self._kept()}")
            return
        self._session.ask(CheckRuleRequest(text), self._checked)

    def _checked(self, reply: Reply) -> None:
        if isinstance(reply, Checked):
            self._problems = reply.problems

    def _next_action(self) -> None:
        at = _ACTIONS.index(self._action) + 1
        if at == len(_ACTIONS):
            self._is_over = True
            return
        self._action = _ACTIONS[at]
        self.look()

    def _answer(self) -> None:
        if self._problems != ():
            self._session.notice("first mend what is wrong with it: E")
            return
        said = _ACTION_LINE.search(self._edited or "")
        action = Say(said[1]) if said else self._action
        self._is_over = True
        self._session.answer([self.asked], action, self._edited, self._answered)

    def _answered(self, *, is_taken: bool) -> None:
        if not is_taken:
            self._session.notice(self._kept())

    def _kept(self) -> str:
        text = f"your rule is kept in {shown(self._keep(self._edited or ''))}"
        self._session.kept.append(text)
        return text


def problem_line(problem: dict[str, Any]) -> str:
    """Return what is wrong with a rule, in a line."""
    where = ":".join(str(problem[key]) for key in ("line", "column") if _is_number(problem, key))
    said = {
        key: shown(problem[key]) for key in ("what", "why", "instead") if _is_text(problem, key)
    }
    text = ": ".join(said[key] for key in ("what", "why") if key in said)
    text += f"; {said['instead']}" if "instead" in said else ""
    return f"{where}: {text}" if where else text


def _is_number(problem: dict[str, Any], key: str) -> bool:
    return isinstance(problem.get(key), int)


def _is_text(problem: dict[str, Any], key: str) -> bool:
    return isinstance(problem.get(key), str) and problem[key] != ""


def _line(line: str) -> str:
    """Return a line of YAML as it is to be typed: no backslash is doubled."""
    cut = line.expandtabs(2)[:_MOST_CHARACTERS]
    return "".join(each if each.isprintable() else shown(each) for each in cut)
