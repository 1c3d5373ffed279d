"""The mode: ask, or decide silently; in the tray's menu and in the main window alike."""

from __future__ import annotations

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QAction, QActionGroup
from PyQt6.QtWidgets import QMenu

from nfsnitch.protocol import Mode, ModeRequest, ModeSet, Refused, Reply
from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.text import shown
from nfsnitch_ui.words import mode_name, time_left

PAUSES_MIN = (5, 15, 60)
_MINUTE_S = 60


class Modes(QObject):
    """The actions that set the mode, and how it is."""

    failed = pyqtSignal(str)

    def __init__(
        self, connection: Connection, questions: Questions, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._connection, self._questions = connection, questions
        group = QActionGroup(self)
        self.actions: dict[str, QAction] = {}
        for mode in Mode:
            action = QAction(mode_name(mode.value), self)
            action.setCheckable(True)
            action.triggered.connect(lambda _checked, mode=mode: self.set(mode.value, None))
            group.addAction(action)
            self.actions[mode.value] = action
        self.pauses: list[QAction] = []
        for minutes in PAUSES_MIN:
            text = counted("Pause for {n} minute", "Pause for {n} minutes", minutes)
            action = QAction(text, self)
            action.setToolTip(_("Allow silently for so long, then ask again"))
            action.triggered.connect(lambda _checked, minutes=minutes: self.pause(minutes))
            self.pauses.append(action)
        questions.mode_changed.connect(self._show)
        connection.changed.connect(self._show)
        self._show()

    def pause(self, minutes: int) -> None:
        """Let everything out for some minutes; what would have been asked is kept."""
        self.set(Mode.ALLOW_SILENTLY.value, float(minutes * _MINUTE_S))

    def set(self, mode: str, for_s: float | None) -> None:
        """Have the daemon take another mode."""
        self._connection.ask(ModeRequest(mode, for_s), self._on_reply)

    def add_to(self, menu: QMenu) -> None:
        """Put the actions into *menu*."""
        menu.addActions(list(self.actions.values()))
        menu.addSeparator()
        menu.addActions(self.pauses)

    def text(self) -> str:
        """Return how the mode is, for people."""
        if self._connection.link is not Link.ON:
            return ""
        left_s = self._questions.mode_left_s()
        name = mode_name(self._questions.mode)
        if left_s is None:
            return name
        return _("{mode}, {left} more").format(mode=name, left=time_left(left_s))

    def _on_reply(self, reply: Reply | None) -> None:
        if isinstance(reply, Refused):
            self.failed.emit(shown(reply.text))
        elif not isinstance(reply, ModeSet):
            self.failed.emit(_("The connection was lost; the mode may be as it was."))
        self._show()

    def _show(self) -> None:
        for mode, action in self.actions.items():
            action.setEnabled(self._connection.can_answer)
            action.setChecked(self._connection.link is Link.ON and self._questions.mode == mode)
        for action in self.pauses:
            action.setEnabled(self._connection.can_answer)
