"""The window that asks.

It appears without taking the focus, and it is made once and used for every question, so that it is
there at once. Which question it shows changes only when that one has ended, or when somebody picks
another: never because a new one has come.
"""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QCloseEvent, QKeyEvent, QPaintEvent
from PyQt6.QtWidgets import QApplication, QHBoxLayout, QVBoxLayout, QWidget

from nfsnitch.protocol import Asked, Say
from nfsnitch_ui.answer_controls import AnswerControls
from nfsnitch_ui.choices import Choices
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.countdown import Countdown
from nfsnitch_ui.facts import program_name
from nfsnitch_ui.guard import Guard
from nfsnitch_ui.i18n import _
from nfsnitch_ui.icons import own_icon
from nfsnitch_ui.question_panel import QuestionPanel
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.questions_list import QuestionsList
from nfsnitch_ui.status_line import StatusLine
from nfsnitch_ui.timers import later
from nfsnitch_ui.words import if_unanswered

STAYS_MS = 5_000
"""How long the window still says how the last question ended, if somebody else ended it."""
_SPACING = 18
_PANEL_WIDTH_EMS, _LIST_WIDTH_EMS, _HEIGHT_EMS = 46, 30, 50


class PromptWindow(QWidget):
    """Shows the questions that wait, and takes the answers."""

    painted = pyqtSignal(int)
    """The question of this number has been painted."""

    def __init__(
        self, connection: Connection, questions: Questions, choices: Choices, guard: Guard
    ) -> None:
        super().__init__(None, Qt.WindowType.Window | Qt.WindowType.WindowStaysOnTopHint)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setWindowTitle(_("nfsnitch asks"))
        self.setWindowIcon(own_icon())
        self._questions, self._guard = questions, guard
        self._shown: tuple[int, ...] = ()
        self._unpainted: int | None = None
        self._is_put_off = False
        """Somebody has closed the window; the next question opens it again."""
        self._has_news = False
        self.panel = QuestionPanel()
        self.countdown = Countdown()
        self.controls = AnswerControls(connection, choices, guard)
        self.status = StatusLine()
        self.list = QuestionsList(questions, guard)
        self.list.hide()
        self._lay_out()
        self._connect(connection)

    def shown(self) -> tuple[int, ...]:
        """Return the numbers of the questions that the buttons answer."""
        return self._shown

    def put_off(self) -> None:
        """Hide the window; the questions stay."""
        self._is_put_off = True
        self.hide()

    def open(self) -> None:
        """Show the window because somebody wants to see it, and let it have the focus."""
        self._is_put_off = False
        self._refresh()
        if not self._shown:
            self.panel.show_message("")
            self._show_controls(shows=False)
        self.show()
        self.raise_()
        self.activateWindow()
        self._guard.restart()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802  Qt's name
        """Close on Escape; other keys do nothing here."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.put_off()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802  Qt's name
        """Hide; the window is used again."""
        if event is not None:
            event.ignore()
        self.put_off()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802  Qt's name
        """Say when a new question has been painted: after this, and after the children."""
        super().paintEvent(event)
        if self._unpainted is not None:
            self._tell_painted.start()

    def _on_painted(self) -> None:
        if self._unpainted is not None:
            number, self._unpainted = self._unpainted, None
            self.painted.emit(number)

    def _connect(self, connection: Connection) -> None:
        questions = self._questions
        self._tell_painted = later(self, 0, self._on_painted)
        self._soon = later(self, 0, self._refresh)
        self._leave = later(self, STAYS_MS, self._hide_if_empty)
        questions.added.connect(self._on_added)
        for changed in (questions.updated, questions.removed):
            changed.connect(self._refresh_soon)
        questions.cleared.connect(self._refresh_soon)
        questions.said.connect(self._on_said)
        questions.failed.connect(self.status.fail)
        connection.changed.connect(self._refresh_soon)
        self.list.picked.connect(self._refresh_soon)
        self.list.deny_everything.connect(self._deny_everything)
        self.controls.answered.connect(questions.answer)
        self.controls.rule_toggled.connect(self._on_rule_toggled)

    def _lay_out(self) -> None:
        left = QVBoxLayout()
        left.setSpacing(12)
        left.addWidget(self.panel, 1)
        left.addWidget(self.countdown)
        left.addWidget(self.controls)
        left.addWidget(self.status)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(18, 18, 18, 18)
        layout.setSpacing(_SPACING)
        layout.addLayout(left, 1)
        layout.addWidget(self.list)
        em = self.fontMetrics().averageCharWidth() * 2
        self.list.setFixedWidth(em * _LIST_WIDTH_EMS)
        has_rule = self.controls.rule_button.isChecked()
        rule_height = self.controls.editor.sizeHint().height() if has_rule else 0
        width = max(em * _PANEL_WIDTH_EMS, self.minimumSizeHint().width())
        self.resize(width, em * _HEIGHT_EMS + rule_height)

    def _on_added(self) -> None:
        self._is_put_off = False
        self._refresh_soon()

    def _refresh_soon(self) -> None:
        self._soon.start()

    def _refresh(self) -> None:
        """Show what is to be shown, and the window itself if anything is."""
        self._soon.stop()
        numbers = self._wanted()
        asked = [it.asked for each in numbers if (it := self._questions.get(each)) is not None]
        if not asked:
            self._show_nothing()
            return
        self._show_list(len(self._questions))
        if numbers != self._shown:
            self._show_others(numbers, asked)
        else:
            self.panel.show_questions(asked)
        self._run_countdown()
        is_sent = all((it := self._questions.get(each)) and it.is_sent for each in numbers)
        self.controls.setEnabled(not is_sent)
        self.list.offer_deny(program_name(asked[0].owner) if len(numbers) == 1 else None)
        if not self._is_put_off and not self.isVisible():
            self._guard.restart()
            self.show()  # without the focus: WA_ShowWithoutActivating
            QApplication.alert(self)

    def _wanted(self) -> tuple[int, ...]:
        """Return what to show: what is selected, else what is shown, else the earliest."""
        selected = [each for each in self.list.selected() if each in self._questions]
        if not selected:
            left = [each for each in self._shown if each in self._questions]
            selected = (left or self._questions.numbers())[:1]
            if selected:
                self.list.select(selected[0])
        return tuple(selected)

    def _show_others(self, numbers: tuple[int, ...], asked: list[Asked]) -> None:
        self._shown = numbers
        self._leave.stop()
        self._guard.restart()
        self.panel.details_button.setChecked(False)
        self.panel.show_questions(asked)
        self.controls.show_questions(asked)
        self._show_controls(shows=True)
        if not self.list.view.hasFocus():
            self.panel.neutral_focus().setFocus()
        self._unpainted = numbers[0]
        self.update()

    def _show_nothing(self) -> None:
        self._shown = ()
        self._show_list(0)
        self._show_controls(shows=False)
        if self.isVisible() and self._has_news:
            self.panel.show_message("")
            self._leave.start()
        else:
            self.hide()
        self._has_news = False

    def _show_controls(self, *, shows: bool) -> None:
        self.controls.setVisible(shows)
        self.countdown.setVisible(shows)
        self.panel.details_button.setVisible(shows)

    def _show_list(self, count: int) -> None:
        """Show the list if there is more than one; what is left of it keeps its place."""
        self.list.show_count(count)
        shows = count > 1
        if shows is not self.list.isHidden():
            return
        by = self.list.width() + _SPACING
        width = self.width() + (by if shows else -by)
        self.list.setVisible(shows)
        self._guard.restart()
        self.resize(width, self.height())

    def _on_rule_toggled(self) -> None:
        """Make room for the rule below, or take it back; the buttons move."""
        self._guard.restart()
        height = self.controls.editor.sizeHint().height()
        by = height if self.controls.rule_button.isChecked() else -height
        self.resize(self.width(), self.height() + by)

    def _run_countdown(self) -> None:
        first = min(self._shown, key=self._questions.left_s, default=None)
        if first is not None:
            then = if_unanswered(self._questions.unanswered)
            left = self._questions.left_s
            self.countdown.run(lambda: left(first), self._questions.timeout_s, then)

    def _deny_everything(self) -> None:
        if len(self._shown) == 1:
            numbers = self._questions.of_same_program(self._shown[0])
            self.controls.answer_everything(Say.DENY.value, numbers)

    def _on_said(self, text: str) -> None:
        self._has_news = True
        self.status.say(text)

    def _hide_if_empty(self) -> None:
        if not self._shown:
            self.hide()
