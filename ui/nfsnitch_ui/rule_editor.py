"""A rule in YAML, to read and to edit; what is wrong with it is shown where it stands."""

from __future__ import annotations

import re
from typing import Any

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtGui import QTextCharFormat, QTextCursor
from PyQt6.QtWidgets import QPlainTextEdit, QTextEdit, QVBoxLayout, QWidget

from nfsnitch.protocol import Checked, CheckRuleRequest, Refused, Reply
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.i18n import _
from nfsnitch_ui.style import color, fixed_font
from nfsnitch_ui.text import SafeLabel, is_plain, shown, shown_lines
from nfsnitch_ui.timers import later

CHECK_DELAY_MS = 300
_MOST_PROBLEMS = 5
_LINES_SHOWN = 8
_ACTION = re.compile(r"^action:.*$", re.MULTILINE)
_ENABLED = re.compile(r"^enabled:.*\n?", re.MULTILINE)


def with_action(rule: str, action: str) -> str:
    """Return *rule* with another action, if it says its action on a line of its own."""
    return _ACTION.sub(f"action: {action}", rule, count=1)


def with_enabled(rule: str, *, is_enabled: bool) -> str:
    """Return *rule* in force, or out of force."""
    bare = _ENABLED.sub("", rule).rstrip("\n") + "\n"
    if is_enabled:
        return bare
    match = _ACTION.search(bare)
    if match is None:
        return f"{bare}enabled: false\n"
    return f"{bare[: match.end()]}\nenabled: false{bare[match.end() :]}"


class RuleEditor(QWidget):
    """An editor for one rule."""

    edited = pyqtSignal()
    """Somebody has changed the text."""

    def __init__(self, connection: Connection, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._connection = connection
        self._given = ""
        self._checks = 0
        """Number of the last check: answers to others are of a text that is gone."""
        self.problems: tuple[dict[str, Any], ...] = ()
        self.field = QPlainTextEdit()
        self.field.setFont(fixed_font())
        self.field.setTabChangesFocus(True)
        self.field.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.field.setMinimumHeight(self.fontMetrics().lineSpacing() * _LINES_SHOWN)
        self.field.textChanged.connect(self._on_text_changed)
        self._below = SafeLabel()
        self._below.setWordWrap(True)
        self._below.hide()
        self._check_soon = later(self, CHECK_DELAY_MS, self._check)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.field)
        layout.addWidget(self._below)

    def show_rule(self, rule: str, *, is_editable: bool = True) -> None:
        """Show a rule as the daemon has it.

        One with characters that cannot be seen is shown with escapes for them, and not to edit.
        """
        is_plainly_shown = is_plain(rule)
        self._given = rule
        self._checks += 1
        self._check_soon.stop()
        self.field.blockSignals(True)  # noqa: FBT003  Qt takes no name here
        self.field.setPlainText(rule if is_plainly_shown else shown_lines(rule))
        self.field.blockSignals(False)  # noqa: FBT003  Qt takes no name here
        self.field.setReadOnly(not (is_editable and is_plainly_shown))
        self._show_problems(())
        if not is_plainly_shown:
            self._say(_("It has characters that cannot be shown; edit its file to change it."))

    def rule(self) -> str:
        """Return the rule as it is now."""
        return self.field.toPlainText() if self.is_edited() else self._given

    def is_edited(self) -> bool:
        """Whether somebody has changed it."""
        return is_plain(self._given) and self.field.toPlainText() != self._given

    def show_problems(self, problems: tuple[dict[str, Any], ...]) -> None:
        """Show what the daemon found wrong with the text as it stands."""
        self._checks += 1
        self._show_problems(problems)

    def problems_text(self) -> str:
        """Return what is said below the text."""
        return self._below.text()

    def _on_text_changed(self) -> None:
        if self.is_edited():
            self._check_soon.start()
        self.edited.emit()

    def _check(self) -> None:
        self._checks += 1
        number = self._checks
        self._connection.ask(
            CheckRuleRequest(self.field.toPlainText()),
            lambda reply: self._on_checked(number, reply),
        )

    def _on_checked(self, number: int, reply: Reply | None) -> None:
        if number != self._checks:
            return
        if isinstance(reply, Checked):
            self._show_problems(reply.problems)
        elif isinstance(reply, Refused):
            self._say(shown(reply.text))

    def _show_problems(self, problems: tuple[dict[str, Any], ...]) -> None:
        self.problems = problems
        self.field.setExtraSelections(
            [self._underlined(each) for each in problems[:_MOST_PROBLEMS]]
        )
        self._say("\n".join(_problem_text(each) for each in problems[:_MOST_PROBLEMS]))

    def _say(self, text: str) -> None:
        self._below.setText(text)
        self._below.setProperty("look", "loud")
        self._below.setVisible(bool(text))

    def _underlined(self, problem: dict[str, Any]) -> QTextEdit.ExtraSelection:
        selection = QTextEdit.ExtraSelection()
        marked = QTextCharFormat()
        marked.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        marked.setUnderlineColor(color("deny"))
        cursor = QTextCursor(self.field.document())
        cursor.movePosition(
            QTextCursor.MoveOperation.Down, n=max(0, _number(problem.get("line")) - 1)
        )
        column = max(0, _number(problem.get("column")) - 1)
        rest = max(0, cursor.block().length() - 1)
        cursor.movePosition(QTextCursor.MoveOperation.Right, n=min(column, max(0, rest - 1)))
        cursor.movePosition(QTextCursor.MoveOperation.EndOfLine, QTextCursor.MoveMode.KeepAnchor)
        selection.cursor, selection.format = cursor, marked
        return selection


def _number(value: object) -> int:
    return value if isinstance(value, int) else 1


def _problem_text(problem: dict[str, Any]) -> str:
    """Return one problem as a line: where, what, why, and what to write instead."""
    where = _("line {line}").format(line=_number(problem.get("line")))
    said = (problem.get(key) for key in ("what", "why", "instead"))
    return f"{where}: " + "; ".join(shown(each, 200) for each in said if isinstance(each, str))
