"""Windows are opened off screen, unless somebody wants to see them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtCore import QSettings, QtMsgType, qInstallMessageHandler
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import Asking, QuestionsRequest
from nfsnitch_ui import i18n
from nfsnitch_ui.application import Program
from nfsnitch_ui.style import Style
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

_HARMLESS = ("does not support", "QPlatformNativeInterface::systemTrayWindowChanged")
"""What is said of what the platform without a screen cannot do."""


@pytest.fixture(scope="session")
def application() -> QApplication:
    """Return the one application of this process, in English and light."""
    i18n.use([])
    found = QApplication.instance()
    made = found if isinstance(found, QApplication) else QApplication(["nfsnitch-ui"])
    made.setQuitOnLastWindowClosed(False)
    Style(made, "light")
    return made


@pytest.fixture(autouse=True)
def _complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take what Qt complains about, and errors in what it calls, for a failure."""
    said: list[str] = []

    def heard(kind: QtMsgType, _context: object, text: str | None) -> None:
        is_harmless = any(each in (text or "") for each in _HARMLESS)
        if kind is not QtMsgType.QtDebugMsg and not is_harmless:
            said.append(text or "")

    def failed(_kind: object, error: BaseException, trace: TracebackType | None) -> None:
        said.extend(traceback.format_exception(error.with_traceback(trace)))

    before = qInstallMessageHandler(heard)
    monkeypatch.setattr(sys, "excepthook", failed)  # else an error in a slot ends the process
    yield
    qInstallMessageHandler(before)
    assert said == [], "".join(said)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that a test moves."""
    return Clock()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[PlayDaemon]:
    """Return a daemon that plays."""
    playing = PlayDaemon(tmp_path / "daemon.sock")
    yield playing
    playing.close()


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    """Return settings that nobody has changed."""
    return QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def program(
    application: QApplication, daemon: PlayDaemon, settings: QSettings, clock: Clock
) -> Iterator[Program]:
    """Return the whole program, connected."""
    assert application is not None
    yield from _running(daemon, settings, clock)


@pytest.fixture
def reader(
    application: QApplication, daemon: PlayDaemon, settings: QSettings, clock: Clock
) -> Iterator[Program]:
    """Return the program of somebody who may watch, but not answer."""
    assert application is not None
    daemon.answers[QuestionsRequest] = lambda _it: Asking(("watch",), "ask", None, 30.0, "deny")
    yield from _running(daemon, settings, clock)


def _running(daemon: PlayDaemon, settings: QSettings, clock: Clock) -> Iterator[Program]:
    running = Program(str(daemon.path), settings, clock)
    running.start(is_hidden=True)
    wait_for(lambda: running.connection.asking is not None)
    yield running
    running.close()
    settle()
