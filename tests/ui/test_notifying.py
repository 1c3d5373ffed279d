"""Notifications, on a D-Bus of the test's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from PyQt6.QtCore import QObject, pyqtClassInfo, pyqtSignal, pyqtSlot
from PyQt6.QtDBus import QDBusConnection
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import Ended
from nfsnitch_ui.application import Program
from nfsnitch_ui.notifying import Notifier
from ui import examples
from ui.play_daemon import PlayDaemon
from ui.waiting import settle, wait_for

pytestmark = pytest.mark.ui

_SERVICE = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"


@pyqtClassInfo("D-Bus Interface", _SERVICE)  # type: ignore[func-returns-value]  # PyQt's stubs
class Desktop(QObject):  # type: ignore[misc]  # the same
    """What a desktop has to show notifications."""

    ActionInvoked = pyqtSignal("uint", str)

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, str, str, list[str]]] = []
        self.closed: list[int] = []

    @pyqtSlot(str, "uint", str, str, str, "QStringList", "QVariantMap", int, result="uint")
    def Notify(  # noqa: N802  the specification's
        self,
        _program: str,
        replaces: int,
        _icon: str,
        summary: str,
        body: str,
        actions: list[str],
        _hints: object,
        _expire_ms: int,
    ) -> int:
        """Show a notification."""
        self.told.append((replaces, summary, body, list(actions)))
        return replaces or 42

    @pyqtSlot("uint")
    def CloseNotification(self, number: int) -> None:  # noqa: N802  the specification's
        """Take it away."""
        self.closed.append(number)


@pytest.fixture
def address(application: QApplication) -> Iterator[str]:
    """Return the address of a bus."""
    assert application is not None
    command = ["dbus-daemon", "--session", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bus:
        assert bus.stdout is not None
        yield bus.stdout.readline().strip()
        bus.terminate()


@pytest.fixture
def desktop(address: str) -> Iterator[Desktop]:
    """Return a desktop on that bus."""
    bus = QDBusConnection.connectToBus(address, "desktop")
    service = Desktop()
    everything = (
        QDBusConnection.RegisterOption.ExportAllSlots
        | QDBusConnection.RegisterOption.ExportAllSignals
    )
    assert bus.registerObject(_PATH, service, everything)
    assert bus.registerService(_SERVICE)
    yield service
    QDBusConnection.disconnectFromBus("desktop")


def test_one_notification_speaks_of_all_questions_and_opens_them(
    program: Program, daemon: PlayDaemon, address: str, desktop: Desktop
) -> None:
    opened: list[bool] = []
    bus = QDBusConnection.connectToBus(address, "program")
    notifier = Notifier(
        program.questions, lambda: opened.append(True), lambda _title, _body: None, bus
    )
    hostile = examples.owner("/opt/<a href='x'>")
    daemon.send(examples.asked(1, hostile))
    wait_for(notifier.is_shown)
    daemon.send(examples.asked(2))
    wait_for(lambda: len(desktop.told) == 2)
    sentence = "<a href='x'> wants to connect to 192.0.2.1, port 443 (https)"
    choices = ["default", "Show the question"]
    assert desktop.told == [
        (0, sentence, "1 question waits", choices),
        (42, sentence, "2 questions wait", choices),
    ]
    desktop.ActionInvoked.emit(41, "default")  # of another program
    desktop.ActionInvoked.emit(42, "default")
    wait_for(lambda: opened == [True])
    daemon.send(Ended(1, "gone", None, None), Ended(2, "gone", None, None))
    wait_for(lambda: desktop.closed == [42])
    QDBusConnection.disconnectFromBus("program")
    settle()


def test_without_a_service_the_tray_has_the_message(
    program: Program, daemon: PlayDaemon, address: str
) -> None:
    said: list[tuple[str, str]] = []
    bus = QDBusConnection.connectToBus(address, "alone")
    notifier = Notifier(
        program.questions, lambda: None, lambda title, body: said.append((title, body)), bus
    )
    daemon.send(examples.asked(1))
    wait_for(lambda: said)
    assert said[0][0].startswith("curl wants to connect to")
    assert not notifier.is_shown()
    QDBusConnection.disconnectFromBus("alone")
