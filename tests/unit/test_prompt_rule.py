"""``nfsnitch prompt`` at a real terminal: the rule that an answer makes, looked at and edited."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.protocol import (
    AnswerRequest,
    CheckRuleRequest,
)
from prompt_play import READY, prompting
from scripted_daemon import ScriptedDaemon, question


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


def editor(folder: Path, *texts: str) -> dict[str, str]:
    """Return an environment with an editor that writes one text after the other."""
    script = folder / "editor"
    saved = folder / "texts.json"
    saved.write_text(json.dumps(texts), encoding="utf-8")
    script.write_text(
        "#!/usr/bin/env python3\n"
        "import json, pathlib, sys\n"
        f"saved = pathlib.Path({str(saved)!r})\n"
        "text, *left = json.loads(saved.read_text())\n"
        "saved.write_text(json.dumps(left))\n"
        "pathlib.Path(sys.argv[1]).write_text(text)\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return {"VISUAL": str(script), "TMPDIR": str(folder)}


def test_the_rule_that_would_be_made_is_shown_as_it_changes(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("p")
        terminal.wait("none: the answer is for the connections that wait now")
        terminal.press("tt")
        terminal.wait("for 5m", "name: program to address-port", "action: allow")
        terminal.press("w")
        terminal.wait("name: unit to address-port")
        terminal.press("p")
        terminal.wait("the rule, if you deny", "action: deny")
        terminal.press("pp")
        terminal.wait(READY, without="the rule, if")
        terminal.press("a")

        assert daemon.next(AnswerRequest).who == "unit"


@pytest.mark.parametrize(
    ("key", "title"), [("?", "keys"), ("m", "mode"), ("A", "allowed?"), ("T", "until when?")]
)
def test_escape_leaves_what_stands_in_the_place_of_the_question(
    daemon: ScriptedDaemon, key: str, title: str
) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press(key)
        terminal.wait(title, without=READY)
        terminal.press("\x1b")

        terminal.wait(READY)
        assert not daemon.has_heard(AnswerRequest)


def test_an_edited_rule_is_checked_mended_and_answered_with(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    wrong, right = "acton: deny\n", "name: mine\naction: reject\n"
    daemon.ask(question(1))
    daemon.problems = [
        {"line": 1, "column": 1, "what": "unknown field 'acton'", "why": "no", "instead": "mend it"}
    ]
    with prompting(daemon.path, environment=editor(tmp_path, wrong, right)) as terminal:
        terminal.wait(READY)
        terminal.press("tt")
        terminal.wait("for 5m")
        terminal.press("E")
        terminal.wait("1:1: unknown field 'acton': no; mend it", "edit again")
        assert daemon.next(CheckRuleRequest).rule == wrong
        terminal.press("\r")
        terminal.wait("first mend what is wrong")
        daemon.problems = []
        terminal.press("E")
        terminal.wait("action: reject", "Enter: answer with it")
        terminal.press("\r")

        answer = daemon.next(AnswerRequest)
        assert (answer.rule, answer.action, answer.duration) == (right, "reject", "5m")
        assert not list(tmp_path.glob("nfsnitch-rule-*"))


def test_what_was_edited_is_kept_when_the_question_ends_before_it_is_taken(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, environment=editor(tmp_path, "name: mine\n")) as terminal:
        terminal.wait(READY)
        terminal.press("ttE")
        terminal.wait("Enter: answer with it")
        daemon.end(1, "unanswered")
        terminal.wait("your rule is kept in")

    (kept,) = tmp_path.glob("nfsnitch-rule-*")
    assert kept.read_text() == "name: mine\n"


@pytest.mark.parametrize("key", ["q", "\x03", "j", "m", "\x1b"])
def test_what_was_edited_is_kept_when_the_person_goes_on_to_something_else(
    daemon: ScriptedDaemon, tmp_path: Path, key: str
) -> None:
    daemon.ask(question(1), question(2))
    with prompting(daemon.path, environment=editor(tmp_path, "name: mine\n")) as terminal:
        terminal.wait(READY)
        terminal.press("ttE")
        terminal.wait("Enter: answer with it")
        terminal.press(key)
        terminal.wait("your rule is kept in")

    (kept,) = tmp_path.glob("nfsnitch-rule-*")
    assert kept.read_text() == "name: mine\n"


def test_a_daemon_that_goes_while_somebody_edits_waits_for_the_editor(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    script = tmp_path / "slow-editor"
    text = f'#!/bin/sh\necho at work\ncat "{tmp_path}/fifo" >"$1"\n'
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    daemon.ask(question(1))
    environment = {"VISUAL": str(script), "TMPDIR": str(tmp_path)}
    with prompting(daemon.path, environment=environment) as terminal:
        terminal.wait(READY)
        terminal.press("ttE")
        terminal.wait("at work")
        daemon.hang_up()
        (tmp_path / "fifo").write_text("name: late\n", encoding="utf-8")

        assert terminal.end() == 3
        assert "the daemon is gone" in terminal.text
        assert "your rule is kept in" in terminal.text


def test_without_an_editor_that_works_nothing_changes(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    daemon.ask(question(1))
    with prompting(
        daemon.path, environment={"VISUAL": "false", "TMPDIR": str(tmp_path)}
    ) as terminal:
        terminal.wait(READY)
        terminal.press("ttE")
        terminal.wait("false has failed (exit status 1)", "the rule is as it was")
