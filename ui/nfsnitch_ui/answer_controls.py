"""Everything with which questions are answered: actions, scope, time, and the rule itself."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from nfsnitch.protocol import (
    ONCE,
    AnswerRequest,
    Asked,
    Preview,
    PreviewRequest,
    Reply,
    Say,
    Where,
    Who,
)
from nfsnitch_ui.choices import Choices
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.guard import ActionButton, Guard
from nfsnitch_ui.i18n import _
from nfsnitch_ui.rule_editor import RuleEditor, with_action
from nfsnitch_ui.scope import Scope
from nfsnitch_ui.text import SafeLabel
from nfsnitch_ui.timers import later
from nfsnitch_ui.words import rights

PREVIEW_DELAY_MS = 150


class AnswerControls(QWidget):
    """Asks for an answer to some questions, and hands it on as a request."""

    answered = pyqtSignal(object)
    """Somebody has answered; with the `AnswerRequest`."""
    rule_toggled = pyqtSignal()
    """The rule appears, or goes: the buttons move."""

    def __init__(
        self,
        connection: Connection,
        choices: Choices,
        guard: Guard,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._connection, self._choices, self._guard = connection, choices, guard
        self._asked: tuple[Asked, ...] = ()
        self._action = Say.ALLOW.value
        """For which the rule is shown."""
        self._previews = 0
        self.scope = Scope(choices)
        self.scope.changed.connect(self._preview_later)
        self.editor = RuleEditor(connection)
        self.editor.field.setMaximumHeight(self.editor.field.minimumHeight())
        self.note = SafeLabel()
        self.note.setWordWrap(True)
        self.note.setProperty("look", "warning")
        self.note.hide()
        self._rule_note = SafeLabel()
        self._rule_note.setProperty("look", "muted")
        self._rule_note.setWordWrap(True)
        self._rule_note.hide()
        self.rule_button = QPushButton(_("Ru&le"))
        self.rule_button.setToolTip(_("Show the rule that the answer makes, and edit it"))
        self.rule_button.setCheckable(True)
        self.rule_button.setAutoDefault(False)
        self.rule_button.setProperty("kind", "plain")
        self.rule_button.setChecked(choices.shows_rule())
        self.rule_button.toggled.connect(self._on_rule_toggled)
        self._preview_soon = later(self, PREVIEW_DELAY_MS, self._preview)
        self.buttons = self._make_buttons()
        self._lay_out()
        self.editor.setVisible(self.rule_button.isChecked())
        connection.changed.connect(self._on_connection)
        self._on_connection()

    def show_questions(self, asked: Sequence[Asked]) -> None:
        """Ask for an answer to all of these."""
        self._asked = tuple(asked)
        self._previews += 1  # one that is on its way is of another question
        self.scope.offer(self._asked)
        self.editor.show_rule("", is_editable=False)
        self._on_connection()

    def say_problem(self, text: str) -> None:
        """Show why nothing was sent."""
        self._rule_note.setText(text)
        self._rule_note.setVisible(bool(text))

    def answer(self, action: str) -> None:
        """Hand on the answer that is chosen now, with this action."""
        if not (self._asked and self._connection.can_answer):
            return
        if action != Say.DISMISS.value and self._has_wrong_rule():
            self.say_problem(_("The rule has a problem; nothing was answered."))
            return
        request = self._request(action)
        if action != Say.DISMISS.value:
            self.scope.remember()
        self.answered.emit(request)

    def answer_everything(self, action: str, numbers: Sequence[int]) -> None:
        """Hand on an answer for all that one sender wants, anywhere."""
        if not (self._asked and self._connection.can_answer):
            return
        who = next(
            (each.value for each in (Who.PROGRAM, Who.OWNER) if each in self._asked[0].who), ""
        )
        duration = self.scope.choice().duration
        where = Where.ANYWHERE.value
        self.answered.emit(AnswerRequest(tuple(numbers), action, who, where, duration, None))

    def _has_wrong_rule(self) -> bool:
        editor = self.editor
        return editor.isVisible() and editor.is_edited() and bool(editor.problems)

    def _request(self, action: str) -> AnswerRequest:
        numbers = tuple(each.number for each in self._asked)
        choice = self.scope.choice()
        if action == Say.DISMISS.value:
            return AnswerRequest(numbers, action, choice.who, choice.where, ONCE, None)
        rule = None
        if self.rule_button.isChecked() and self.editor.is_edited() and choice.duration != ONCE:
            rule = with_action(self.editor.rule(), action)
        return AnswerRequest(numbers, action, choice.who, choice.where, choice.duration, rule)

    def _make_buttons(self) -> dict[str, ActionButton]:
        texts = {
            Say.DISMISS.value: (_("Dis&miss"), "plain"),
            Say.REJECT.value: (_("&Reject"), "reject"),
            Say.DENY.value: (_("&Deny"), "deny"),
            Say.ALLOW.value: (_("&Allow"), "allow"),
        }
        tips = {
            Say.DISMISS.value: _("No answer and no rule: what nobody answers becomes of it, now"),
            Say.REJECT.value: _("Refuse it, and tell the program at once"),
            Say.DENY.value: _("Refuse it in silence"),
            Say.ALLOW.value: _("Let it go out"),
        }
        buttons = {}
        for action, (text, kind) in texts.items():
            button = ActionButton(text, self._guard, kind)
            button.setToolTip(tips[action])
            button.chosen.connect(lambda action=action: self.answer(action))
            button.considered.connect(lambda action=action: self._on_considered(action))
            buttons[action] = button
        return buttons

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.buttons[Say.DISMISS.value])
        row.addWidget(self.rule_button)
        row.addStretch(1)
        for action in (Say.REJECT, Say.DENY, Say.ALLOW):
            row.addWidget(self.buttons[action.value])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(self.scope)
        layout.addWidget(self.editor)
        layout.addWidget(self._rule_note)
        layout.addWidget(self.note)
        layout.addLayout(row)

    def _on_considered(self, action: str) -> None:
        if action in {Say.DISMISS.value, self._action}:
            return
        self._action = action
        self._preview_later()

    def _on_rule_toggled(self) -> None:
        shows = self.rule_button.isChecked()
        self._choices.remember_shows_rule(shows=shows)
        self.editor.setVisible(shows)
        self.say_problem("")
        self._preview_later()
        self.rule_toggled.emit()

    def _on_connection(self) -> None:
        asking = self._connection.asking
        can_answer = self._connection.can_answer and bool(self._asked)
        why_not = rights(asking.rights) if asking is not None else None
        self.note.setText(why_not or "")
        self.note.setVisible(bool(why_not))
        for button in self.buttons.values():
            button.setEnabled(can_answer)
        self.scope.set_enabled(enabled=can_answer)

    def _preview_later(self) -> None:
        self.say_problem("")
        if self.rule_button.isChecked() and self._asked and not self.editor.is_edited():
            self._preview_soon.start()

    def _preview(self) -> None:
        if len(self._asked) != 1:
            self.editor.show_rule("", is_editable=False)
            self.say_problem(_("Several questions are answered: each gets a rule of its own."))
            return
        choice = self.scope.choice()
        self._previews += 1
        number = self._previews
        request = PreviewRequest(
            self._asked[0].number, self._action, choice.who, choice.where, choice.duration
        )
        self._connection.ask(request, lambda reply: self._on_preview(number, reply))

    def _on_preview(self, number: int, reply: Reply | None) -> None:
        if number != self._previews or not isinstance(reply, Preview) or self.editor.is_edited():
            return
        self.editor.show_rule(
            reply.rule, is_editable=bool(reply.rule) and self._connection.can_answer
        )
        if not reply.rule:
            self.say_problem(_("This makes no rule: it is for the waiting connections alone."))
