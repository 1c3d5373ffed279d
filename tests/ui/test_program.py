"""The program as it is started: options, one of a kind, the log of what was painted."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import AnswerRequest, QuestionsRequest, WatchRequest
from nfsnitch_ui.application import Program
from nfsnitch_ui.instance import Instance
from ui import examples
from ui.hands import shows
from ui.play_daemon import PlayDaemon
from ui.waiting import wait_for

pytestmark = pytest.mark.ui

_UI = Path(__file__).parents[2] / "ui"
_SHARE = _UI / "share"


class Started:
    """The program in a process of its own."""

    def __init__(self, daemon: PlayDaemon, directory: Path) -> None:
        runtime = directory / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.log = directory / "paints"
        self._command = [sys.executable, "-m", "nfsnitch_ui", "--hidden"]
        self._command += ["--socket", str(daemon.path), "--paint-log", str(self.log)]
        self._environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(directory),
            "LANGUAGE": "en",
        }
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more."""
        return subprocess.Popen(self._command, env=self._environment)

    def paints(self) -> list[list[str]]:
        """Return the lines of the log."""
        if not self.log.exists():
            return []
        return [line.split() for line in self.log.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def started(application: QApplication, daemon: PlayDaemon, tmp_path: Path) -> Iterator[Started]:
    """Return a started program that has begun to listen for questions."""
    assert application is not None
    running = Started(daemon, tmp_path)
    wait_for(lambda: daemon.asked_for(WatchRequest))
    yield running
    running.process.kill()
    running.process.wait(timeout=20)


def test_when_a_question_was_painted_is_logged(started: Started, daemon: PlayDaemon) -> None:
    before_ns = time.monotonic_ns()
    daemon.send(examples.asked(17))
    wait_for(started.paints)
    [[number, painted_ns, x, y]] = started.paints()
    assert number == "17"
    assert before_ns < int(painted_ns) < time.monotonic_ns()
    assert int(x) > 0
    assert int(y) > 0


def test_a_second_one_shows_the_first_and_ends(started: Started, daemon: PlayDaemon) -> None:
    second = started.start()
    assert second.wait(timeout=20) == 0
    assert len(daemon.asked_for(QuestionsRequest)) == 1
    assert started.process.poll() is None


def test_after_a_kill_the_next_one_asks_again(
    started: Started, daemon: PlayDaemon, tmp_path: Path
) -> None:
    daemon.questions.append(examples.asked(5))
    started.process.kill()
    started.process.wait(timeout=20)
    again = Started(daemon, tmp_path)
    wait_for(lambda: ["5"] in [line[:1] for line in again.paints()])
    again.process.kill()
    again.process.wait(timeout=20)
    assert daemon.asked_for(AnswerRequest) == []


def test_a_signal_ends_it_cleanly(started: Started) -> None:
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(timeout=20) == 0


def test_the_one_that_runs_is_told_to_show_itself(
    application: QApplication, tmp_path: Path
) -> None:
    assert application is not None
    first, second = Instance("/a/socket", tmp_path), Instance("/a/socket", tmp_path)
    heard: list[bool] = []
    first.asked_to_show.connect(lambda: heard.append(True))
    assert first.take()
    assert not second.take()
    wait_for(lambda: heard)
    other = Instance("/another/socket", tmp_path)
    assert other.take()
    first.release()
    assert second.take()
    for each in (second, other):
        each.release()


def test_the_window_is_painted_soon_after_the_question_has_come(
    program: Program, daemon: PlayDaemon
) -> None:
    """Not measured here but that it happens at all for each; the bench has the times."""
    painted: list[int] = []
    program.prompt.painted.connect(painted.append)
    daemon.send(examples.asked(1))
    shows(program, 1)
    wait_for(lambda: painted == [1])


def test_desktop_files_name_what_there_is() -> None:
    for path in (
        _SHARE / "applications" / "org.nfsnitch.Nfsnitch.desktop",
        _SHARE / "autostart" / "org.nfsnitch.Nfsnitch.desktop",
    ):
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its page has it
        parser.read(path, encoding="utf-8")
        entry = parser["Desktop Entry"]
        assert entry["Type"] == "Application"
        assert entry["Exec"].split()[0] == "nfsnitch-ui"
        assert entry["Icon"] == "org.nfsnitch.Nfsnitch"


def test_the_icon_is_the_one_in_the_package() -> None:
    icon = _SHARE / "icons/hicolor/scalable/apps/org.nfsnitch.Nfsnitch.svg"
    packaged = _UI / "nfsnitch_ui" / "pictures" / "nfsnitch.svg"
    assert icon.read_bytes() == packaged.read_bytes()
    assert ET.fromstring(icon.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314  our own
