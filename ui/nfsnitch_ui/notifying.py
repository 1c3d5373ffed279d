"""Notifications, where a window alone may not be seen.

On X11 the window that asks stays above the others without the focus. Under Wayland no program can
ask for that: the compositor may put a new window behind the others. There a notification of the
desktop goes with it, over D-Bus; and where no such service answers, the tray's own message.

Text from programs goes into the summary alone, which the specification has as plain text: the body
may be taken for markup.
"""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QMetaType, QObject, pyqtSlot
from PyQt6.QtDBus import (
    QDBusArgument,
    QDBusConnection,
    QDBusMessage,
    QDBusPendingCallWatcher,
    QDBusPendingReply,
)
from PyQt6.QtGui import QGuiApplication

from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.questions import Questions
from nfsnitch_ui.text import middle
from nfsnitch_ui.timers import later
from nfsnitch_ui.words import sentence

_SERVICE = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"
_MOST_IN_SUMMARY = 120
_NEVER_MS = 0
"""It stays until it is closed: it is, when nothing is asked any more."""


def is_needed() -> bool:
    """Whether a window alone may not be seen."""
    return QGuiApplication.platformName().startswith("wayland")


class Notifier(QObject):
    """Keeps one notification about the questions that wait."""

    def __init__(
        self,
        questions: Questions,
        open_: Callable[[], None],
        fallback: Callable[[str, str], None],
        bus: QDBusConnection | None = None,
    ) -> None:
        super().__init__()
        self._questions, self._open, self._fallback = questions, open_, fallback
        self._bus = QDBusConnection.sessionBus() if bus is None else bus
        self._id = 0
        self._calls: set[QDBusPendingCallWatcher] = set()
        self._soon = later(self, 0, self._tell)
        questions.added.connect(lambda _number: self._soon.start())
        questions.removed.connect(self._on_gone)
        questions.cleared.connect(self._on_gone)
        self._bus.connect(_SERVICE, _PATH, _SERVICE, "ActionInvoked", "us", self._on_action)

    def is_shown(self) -> bool:
        """Whether there is a notification now."""
        return self._id != 0

    def _tell(self) -> None:
        numbers = self._questions.numbers()
        waiting = self._questions.get(numbers[0]) if numbers else None
        if waiting is None:
            return
        summary = middle(sentence(waiting.asked), _MOST_IN_SUMMARY)
        body = counted("{n} question waits", "{n} questions wait", len(numbers))
        if not self._bus.isConnected():
            self._fallback(summary, body)
            return
        call = QDBusMessage.createMethodCall(_SERVICE, _PATH, _SERVICE, "Notify")
        call.setArguments(
            [
                "nfsnitch",
                _number(self._id),
                "org.nfsnitch.Nfsnitch",
                summary,
                body,
                _texts(["default", _("Show the question")]),
                {"urgency": 2, "desktop-entry": "org.nfsnitch.Nfsnitch"},
                _NEVER_MS,
            ]
        )
        self._send(call, lambda reply: self._on_told(reply, summary, body))

    def _on_told(self, reply: QDBusMessage, summary: str, body: str) -> None:
        arguments = reply.arguments()
        if reply.type() is QDBusMessage.MessageType.ReplyMessage and arguments:
            self._id = int(arguments[0])
        else:
            self._fallback(summary, body)

    def _on_gone(self) -> None:
        if self._id and not len(self._questions):
            call = QDBusMessage.createMethodCall(_SERVICE, _PATH, _SERVICE, "CloseNotification")
            call.setArguments([_number(self._id)])
            self._id = 0
            self._send(call, lambda _reply: None)

    def _send(self, call: QDBusMessage, done: Callable[[QDBusMessage], None]) -> None:
        watcher = QDBusPendingCallWatcher(self._bus.asyncCall(call), self)
        self._calls.add(watcher)

        def finished() -> None:
            self._calls.discard(watcher)
            done(QDBusPendingReply(watcher).reply())
            watcher.deleteLater()

        watcher.finished.connect(finished)

    @pyqtSlot(QDBusMessage)
    def _on_action(self, message: QDBusMessage) -> None:
        arguments = message.arguments()
        if arguments and arguments[0] == self._id and self._id:
            self._open()


def _number(value: int) -> QDBusArgument:
    argument = QDBusArgument()
    argument.add(value, QMetaType.Type.UInt.value)  # type: ignore[arg-type]  # it is an int
    return argument


def _texts(values: list[str]) -> QDBusArgument:
    argument = QDBusArgument()
    argument.add(values, QMetaType.Type.QStringList.value)  # type: ignore[arg-type]  # so is this
    return argument
