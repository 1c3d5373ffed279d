"""The icon in the desktop's tray, where there is one."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QObject
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QMenu, QSystemTrayIcon

from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.icons import tray_icon
from nfsnitch_ui.modes import Modes
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.timers import later


class Tray(QObject):
    """Shows the state, and opens what there is."""

    def __init__(
        self,
        connection: Connection,
        questions: Questions,
        modes: Modes,
        show_questions: Callable[[], None],
        show_main: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        super().__init__()
        self._connection, self._questions, self._modes = connection, questions, modes
        self._show_questions, self._show_main = show_questions, show_main
        self.icon = QSystemTrayIcon(tray_icon("none", 0), self)
        self.menu = QMenu()
        self.questions_action = QAction(_("Show questions"), self)
        self.questions_action.triggered.connect(show_questions)
        self.menu.addAction(self.questions_action)
        main = QAction(_("Open nfsnitch"), self)
        main.triggered.connect(show_main)
        self.menu.addAction(main)
        self.menu.addSeparator()
        modes.add_to(self.menu)
        self.menu.addSeparator()
        quit_ = QAction(_("Quit"), self)
        quit_.triggered.connect(leave)
        self.menu.addAction(quit_)
        self.icon.setContextMenu(self.menu)
        self.icon.activated.connect(self._on_activated)
        self._soon = later(self, 50, self.show_state)
        for changed in (
            questions.added,
            questions.removed,
            questions.cleared,
            questions.mode_changed,
            connection.changed,
        ):
            changed.connect(lambda *_what: self._soon.start())
        self.show_state()

    def show(self) -> None:
        """Put the icon into the tray; where there is none yet, it appears with it."""
        self.icon.show()

    def state(self) -> str:
        """Return what the icon shows: a mode, or ``none`` without a daemon."""
        return self._questions.mode if self._connection.link is Link.ON else "none"

    def show_state(self) -> None:
        """Show how it is now."""
        count = len(self._questions)
        self.icon.setIcon(tray_icon(self.state(), count))
        self.questions_action.setEnabled(count > 0)
        self.icon.setToolTip(f"nfsnitch: {self._state_text(count)}")

    def _state_text(self, count: int) -> str:
        if self._connection.link is not Link.ON:
            return self._connection.problem or _("connecting")
        if count:
            return counted("{n} question waits", "{n} questions wait", count)
        return self._modes.text()

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason is QSystemTrayIcon.ActivationReason.Trigger:
            (self._show_questions if len(self._questions) else self._show_main)()
