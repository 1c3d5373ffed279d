"""On a real display: who types goes on typing, whatever is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import AnswerRequest, WatchRequest
from ui import examples
from ui.play_daemon import PlayDaemon
from ui.waiting import wait_for

pytestmark = pytest.mark.ui


class Screen:
    """A display with somebody in front of it, who types into a window of another program."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[subprocess.Popen[str]] = []
        read_end, write_end = os.pipe()
        command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x1024x24"]
        self._running.append(
            subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL, text=True)
        )
        os.close(write_end)
        with os.fdopen(read_end) as display:
            self.display = f":{display.readline().strip()}"
        self.typed: list[str] = []
        typist = self.start("-m", "ui.typist")
        threading.Thread(target=self._listen, args=(typist,), daemon=True).start()
        wait_for(lambda: self.typed == ["ready"])
        self.hand("search", "--sync", "--name", "^typist$", "windowfocus", "--sync")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python program on the display."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DISPLAY": self.display,
            "QT_QPA_PLATFORM": "xcb",
            "XDG_RUNTIME_DIR": str(self._directory),
            "XDG_CONFIG_HOME": str(self._directory),
        }
        command = [sys.executable, *arguments]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._running.append(process)
        return process

    def hand(self, *what: str) -> str:
        """Do something with keyboard or mouse."""
        environment = {**os.environ, "DISPLAY": self.display}
        command = ["xdotool", *what]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=20)
        return done.stdout.decode().strip()

    def close(self) -> None:
        """Take everything away."""
        for process in reversed(self._running):
            process.kill()
            process.wait(timeout=20)
            if process.stdout is not None:
                process.stdout.close()

    def _listen(self, typist: subprocess.Popen[str]) -> None:
        assert typist.stdout is not None
        for line in typist.stdout:
            self.typed.append(line.rstrip("\n"))


@pytest.fixture
def screen(application: QApplication, tmp_path: Path) -> Iterator[Screen]:
    """Return a display."""
    assert application is not None
    made = Screen(tmp_path)
    yield made
    made.close()


def test_who_types_goes_on_typing_while_a_question_appears(
    screen: Screen, daemon: PlayDaemon, tmp_path: Path
) -> None:
    log = tmp_path / "paints"
    screen.start(
        *("-m", "nfsnitch_ui", "--hidden", "--socket", str(daemon.path), "--paint-log", str(log))
    )
    wait_for(lambda: daemon.asked_for(WatchRequest))
    before = screen.hand("getwindowfocus")
    screen.hand("type", "half a ")
    daemon.send(examples.asked(1), examples.asked(2))
    wait_for(lambda: log.exists() and log.read_text(encoding="ascii"))
    assert screen.hand("search", "--onlyvisible", "--name", "nfsnitch asks")
    screen.hand("type", "word")
    screen.hand("key", "Return", "space", "Escape", "alt+a")
    screen.hand("type", "end")
    wait_for(lambda: screen.typed[-1] == "half a word! aend")
    assert screen.hand("getwindowfocus") == before
    assert daemon.asked_for(AnswerRequest) == []
