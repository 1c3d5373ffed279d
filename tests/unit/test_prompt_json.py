"""``nfsnitch prompt --json``: for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfsnitch.lab.process import same_modules
from nfsnitch.protocol import (
    AnswerRequest,
    ModeChanged,
    PreviewRequest,
    Right,
    Stopping,
    encode,
)
from scripted_daemon import ScriptedDaemon, question


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


class Script:
    """The command, as a script runs it."""

    def __init__(self, daemon: ScriptedDaemon, *argv: str) -> None:
        command = [sys.executable, "-m", "nfsnitch.cli", "prompt", "--json"]
        self.process = subprocess.Popen(
            [*command, "--socket", str(daemon.path), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **same_modules()},
        )

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        assert isinstance(message, dict)
        return message

    def write(self, *lines: bytes | dict[str, Any]) -> None:
        """Write requests."""
        assert self.process.stdin is not None
        for line in lines:
            raw = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            self.process.stdin.write(raw)
        self.process.stdin.flush()

    def end(self) -> tuple[int, bytes, bytes]:
        """Close standard input; return the exit status, and what else was written."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture(name="script")
def fixture_script(daemon: ScriptedDaemon) -> Iterator[Script]:
    daemon.ask(question(3))
    script = Script(daemon)
    assert script.read()["type"] == "asking"
    assert script.read() == json.loads(encode(question(3)))
    yield script
    script.process.kill()
    script.process.communicate()


def test_messages_come_as_the_daemon_sends_them(daemon: ScriptedDaemon, script: Script) -> None:
    for message in (question(4, owner={"args": ["\x1b[2J"]}), ModeChanged("allow-silently", 60.0)):
        daemon.say(message)

        assert script.read() == json.loads(encode(message))


def test_a_request_needs_only_what_is_not_usual(daemon: ScriptedDaemon, script: Script) -> None:
    script.write({"type": "preview", "question": 3, "action": "allow"})
    script.write({"type": "answer", "questions": [3], "action": "deny", "duration": "15m"})

    assert [script.read()["type"] for _ in range(3)] == ["preview", "answered", "question-ended"]
    assert daemon.next(PreviewRequest).duration == "once"
    assert daemon.next(AnswerRequest) == AnswerRequest(
        (3,), "deny", "program", "address-port", "15m", None
    )


@pytest.mark.parametrize(
    ("line", "why", "text"),
    [
        (b"allow!\n", "bad-message", "no JSON"),
        (b"[3]\n", "bad-message", "no object"),
        (b'{"questions":[3]}\n', "bad-message", "the type is missing"),
        (b'{"type":["answer"]}\n', "bad-message", "the type is missing"),
        (b'{"type":"dance"}\n', "unknown-type", "there is no such message"),
        (b'{"type":"answer","action":"allow"}\n', "bad-message", "questions is missing"),
        (b'{"v":2,"type":"status"}\n', "bad-version", "version 1"),
        (b"[" * 9_000 + b"\n", "bad-message", "no JSON"),
        (b'{"type":"\xff"}\n', "bad-message", "no JSON"),
    ],
)
def test_bad_input_gets_an_error_line_and_does_not_end_it(
    script: Script, line: bytes, why: str, text: str
) -> None:
    script.write(line, {"type": "mode", "mode": "ask"})

    error = script.read()
    assert (error["type"], error["why"]) == ("error", why)
    assert text in error["text"]
    answers = {script.read()["type"], script.read()["type"]}
    assert answers == {"mode-set", "mode-changed"}


def test_a_line_without_end_ends_the_input_alone(daemon: ScriptedDaemon, script: Script) -> None:
    script.write(b"x" * 20_000)

    assert "longer than 16384 bytes" in script.read()["text"]
    assert script.process.wait(30) == 0
    assert list(daemon.questions) == [3]


def test_at_the_end_of_input_what_was_asked_for_is_still_answered(script: Script) -> None:
    assert script.process.stdin is not None
    script.process.stdin.write(b'{"type":"status"}\n')
    status, out, err = script.end()

    assert (status, err) == (0, b"")
    assert json.loads(out)["type"] == "status"


def test_without_a_daemon_or_a_right_the_exit_status_says_so(daemon: ScriptedDaemon) -> None:
    daemon.rights = ()
    script = Script(daemon)
    assert script.read()["why"] == "not-allowed"
    status, _, err = script.end()
    assert (status, err) == (4, b"nfsnitch: only members of nfsnitch may\n")

    daemon.rights = (Right.WATCH,)
    script = Script(daemon)
    assert script.read()["rights"] == ["watch"]
    script.write({"type": "answer", "questions": [1], "action": "allow"})
    assert script.read()["why"] == "not-allowed"
    daemon.hang_up()
    status, _, err = script.end()
    assert (status, err) == (3, b"nfsnitch: the daemon is gone, without a word\n")

    status, out, err = Script(daemon).end()
    assert (status, out) == (3, b"")
    assert b"no daemon" in err


def test_a_goodbye_is_passed_on(daemon: ScriptedDaemon, script: Script) -> None:
    daemon.say(Stopping())
    daemon.hang_up()

    assert script.read()["type"] == "stopping"
    assert script.process.wait(30) == 0


def test_the_next_daemon_is_waited_for_if_it_is_to(daemon: ScriptedDaemon) -> None:
    script = Script(daemon, "--follow")
    assert script.read()["type"] == "asking"
    daemon.hang_up()
    daemon.come_back()

    assert script.read()["type"] == "asking"
    assert script.end()[0] == 0


def test_when_nobody_reads_any_more_it_ends_by_itself(script: Script) -> None:
    assert script.process.stdout is not None
    script.process.stdout.close()

    assert script.process.wait(30) == 0


def test_a_person_is_told_to_use_a_terminal(daemon: ScriptedDaemon) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nfsnitch.cli", "prompt", "--socket", str(daemon.path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **same_modules()},
        check=False,
    )
    assert done.returncode == 2
    assert b"needs a terminal; for scripts there is prompt --json" in done.stderr
