"""Everything that there is, wired together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PyQt6.QtCore import QObject, QSettings
from PyQt6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from nfsnitch.protocol import Say
from nfsnitch_ui.choices import Choices
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.guard import Guard
from nfsnitch_ui.main_window import MainWindow
from nfsnitch_ui.modes import Modes
from nfsnitch_ui.notifying import Notifier, is_needed
from nfsnitch_ui.prompt_window import PromptWindow
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.tray import Tray


class Program(QObject):
    """The desktop program, for the daemon at *path*."""

    def __init__(
        self, path: str, settings: QSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        choices, guard = Choices(settings), Guard(clock, self)
        self.connection = Connection(path, self)
        self.questions = Questions(self.connection, clock, self)
        self.modes = Modes(self.connection, self.questions, self)
        self.prompt = PromptWindow(self.connection, self.questions, choices, guard)
        # What is silenced waits for nobody; its guard does not close when a question comes.
        self.main = MainWindow(
            self.connection, self.questions, self.modes, choices, Guard(clock, self)
        )
        self.main.questions_wanted.connect(self.prompt.open)
        self.main.leave_wanted.connect(self.leave)
        self.tray = Tray(
            self.connection,
            self.questions,
            self.modes,
            self.prompt.open,
            self.open,
            self.leave,
        )
        self.notifier: Notifier | None = None
        if is_needed():
            self.notifier = Notifier(self.questions, self.prompt.open, self._tray_message)
        self._log: PaintLog | None = None

    def start(self, *, is_hidden: bool) -> None:
        """Connect, and show what is to be shown."""
        QApplication.setQuitOnLastWindowClosed(False)  # it goes on asking
        self.tray.show()
        self.prompt.grab()  # what is made when it is painted first, is made before it is needed
        self.connection.start()
        if not is_hidden:
            self.open()

    def log_paints(self, path: Path) -> None:
        """Append to *path* when which question was painted."""
        self._log = PaintLog(path, self.prompt.controls.buttons[Say.ALLOW.value])
        self.prompt.painted.connect(self._log.write)

    def open(self) -> None:
        """Show the main window to somebody who wants to see it."""
        self.main.show()
        self.main.raise_()
        self.main.activateWindow()

    def close(self) -> None:
        """Take everything away. The questions stay: they are the daemon's."""
        self.connection.close()
        self.tray.icon.hide()
        for window in (self.prompt, self.main):
            window.hide()
            window.deleteLater()

    def leave(self) -> None:
        """End the program: what is open is closed when its loop has ended."""
        QApplication.quit()

    def _tray_message(self, title: str, body: str) -> None:
        if self.tray.icon.isVisible() and QSystemTrayIcon.supportsMessages():
            self.tray.icon.showMessage(title, body)


class PaintLog:
    """A line for each question that has been painted.

    It has the question's number, when that was (monotonic, in nanoseconds), and where on the
    display the middle of *button* is, for those who measure how long it takes to answer.
    """

    def __init__(self, path: Path, button: QWidget) -> None:
        self._file = path.open("a", encoding="ascii", buffering=1)
        self._button = button

    def write(self, number: int) -> None:
        """Note that a question has been painted just now."""
        painted_ns = time.monotonic_ns()
        middle = self._button.mapToGlobal(self._button.rect().center())
        self._file.write(f"{number} {painted_ns} {middle.x()} {middle.y()}\n")
