"""The main window: how the firewall is, and four views of what it does."""

from __future__ import annotations

from functools import partial

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction, QHideEvent, QKeySequence, QShortcut, QShowEvent
from PyQt6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QTabWidget, QVBoxLayout, QWidget

from nfsnitch_ui.choices import Choices
from nfsnitch_ui.connection import Connection, Link
from nfsnitch_ui.guard import Guard
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.icons import own_icon
from nfsnitch_ui.modes import Modes
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.status_line import StatusLine
from nfsnitch_ui.text import SafeLabel, shown
from nfsnitch_ui.timers import every
from nfsnitch_ui.views.connections import ConnectionsView
from nfsnitch_ui.views.history import HistoryView
from nfsnitch_ui.views.rules import RulesView
from nfsnitch_ui.views.silenced import SilencedView
from nfsnitch_ui.words import rights

_ICON_PIXELS = 28
_WIDTH_EMS, _HEIGHT_EMS = 82, 52
_TICK_MS = 1_000


class MainWindow(QWidget):
    """State and mode above, the views below."""

    questions_wanted = pyqtSignal()
    leave_wanted = pyqtSignal()

    def __init__(
        self,
        connection: Connection,
        questions: Questions,
        modes: Modes,
        choices: Choices,
        guard: Guard,
    ) -> None:
        super().__init__()
        self.setWindowTitle(_("nfsnitch"))
        self.setWindowIcon(own_icon())
        self._connection, self._questions, self._modes = connection, questions, modes
        self.connections = ConnectionsView(connection)
        self.rules = RulesView(connection)
        self.history = HistoryView(connection)
        self.silenced = SilencedView(connection, choices, guard)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self.connections, _("Connections"))
        self.tabs.addTab(self.rules, _("Rules"))
        self.tabs.addTab(self.history, _("History"))
        self.tabs.addTab(self.silenced, _("Would have been asked"))
        for place in range(self.tabs.count()):
            keys = QShortcut(QKeySequence(f"Ctrl+{place + 1}"), self)
            keys.activated.connect(partial(self.tabs.setCurrentIndex, place))
            self.tabs.setTabToolTip(place, keys.key().toString())
        self._lay_out()
        self._tick = every(self, _TICK_MS, self._show_state)
        for changed in (connection.changed, questions.mode_changed):
            changed.connect(self._show_state)
        for changed in (questions.added, questions.removed, questions.cleared):
            changed.connect(self._show_count)
        modes.failed.connect(self.status.fail)
        self._show_state()
        self._show_count()
        self.tabs.setFocus()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802  Qt's name
        """Keep the times right while it is seen."""
        super().showEvent(event)
        self._tick.start()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802  Qt's name
        """Rest while it is not seen."""
        super().hideEvent(event)
        self._tick.stop()

    def _lay_out(self) -> None:
        self.icon, self.state, self.detail = SafeLabel(), SafeLabel(), SafeLabel()
        self.icon.setPixmap(own_icon().pixmap(_ICON_PIXELS, _ICON_PIXELS))
        self.state.setProperty("look", "strong")
        self.detail.setProperty("look", "muted")
        self.detail.setWordWrap(True)
        self.questions_button = QPushButton()
        self.questions_button.setProperty("kind", "plain")
        self.questions_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.questions_button.clicked.connect(self.questions_wanted)
        self.mode_button = QPushButton(_("&Mode"))
        self.mode_button.setProperty("kind", "plain")
        self._menu = QMenu(self)
        self._modes.add_to(self._menu)
        self._menu.addSeparator()
        leave = QAction(_("Quit"), self)
        leave.setShortcut(QKeySequence(QKeySequence.StandardKey.Quit))
        leave.triggered.connect(lambda _checked: self.leave_wanted.emit())
        self.addAction(leave)
        self._menu.addAction(leave)
        self.mode_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.mode_button.setMenu(self._menu)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.state)
        words.addWidget(self.detail)
        head = QHBoxLayout()
        head.setContentsMargins(16, 12, 14, 10)
        head.setSpacing(12)
        head.addWidget(self.icon)
        head.addLayout(words, 1)
        head.addWidget(self.questions_button)
        head.addWidget(self.mode_button)
        self.status = StatusLine()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 6)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.status)
        em = self.fontMetrics().averageCharWidth() * 2
        self.resize(em * _WIDTH_EMS, em * _HEIGHT_EMS)

    def _show_state(self) -> None:
        connection = self._connection
        asking = connection.asking
        if connection.link is Link.ON:
            self.state.setText(_("The firewall runs"))
            detail = self._modes.text()
            why_not = rights(asking.rights) if asking is not None else None
            self.detail.setText(f"{detail}. {why_not}" if why_not else detail)
        elif connection.link is Link.REFUSED:
            self.state.setText(_("The firewall does not let you in"))
            self.detail.setText(shown(connection.problem))
        else:
            self.state.setText(_("No firewall"))
            self.detail.setText(shown(connection.problem))
        self.mode_button.setEnabled(connection.can_answer)

    def _show_count(self) -> None:
        count = len(self._questions)
        self.questions_button.setVisible(count > 0)
        self.questions_button.setText(counted("{n} question waits", "{n} questions wait", count))
