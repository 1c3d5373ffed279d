"""``nfsnitch prompt`` where the terminal cannot be drawn on: a question, then a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.protocol import AnswerRequest, ModeRequest
from prompt_play import prompting
from scripted_daemon import ScriptedDaemon, question
from terminal_play import Terminal

HOUR_MS = 3_600_000
ASKS = "a allow, d deny, r reject, s dismiss"
SIZE = (100, 60)
DUMB = {"TERM": "dumb"}


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


@pytest.fixture(name="terminal")
def fixture_terminal(daemon: ScriptedDaemon) -> Iterator[Terminal]:
    daemon.ask(question(1), question(2), question(3))
    with prompting(daemon.path, size=SIZE, environment=DUMB) as terminal:
        terminal.wait("curl wants to connect to 192.0.2.1 port 443", f"2 more wait: {ASKS}")
        yield terminal


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("a", ((1,), "allow", "program", "address-port", "once")),
        ("d forever", ((1,), "deny", "program", "address-port", "forever")),
        ("user anywhere 15m r", ((1,), "reject", "user", "anywhere", "15m")),
        ("w s", ((1,), "dismiss", "unit", "address-port", "once")),
        (
            "until 2130-06-30 a",
            ((1,), "allow", "program", "address-port", "until 2130-07-01T00:00:00Z"),
        ),
    ],
)
def test_a_line_answers_and_says_for_whom_where_and_how_long(
    daemon: ScriptedDaemon, line: str, answer: tuple[object, ...]
) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, size=SIZE, environment={**DUMB, "TZ": "UTC"}) as terminal:
        terminal.wait(ASKS)
        terminal.press(f"{line}\n")

        request = daemon.next(AnswerRequest)
        scope = (request.who, request.where, request.duration)
        assert (request.questions, request.action, *scope) == answer
        terminal.wait("by you")


def test_questions_are_listed_and_answered_in_any_order(
    daemon: ScriptedDaemon, terminal: Terminal
) -> None:
    terminal.press("l\n")
    terminal.wait("  3  curl → 192.0.2.3:443 tcp")
    terminal.press("3\n")
    terminal.wait("curl wants to connect to 192.0.2.3 port 443")
    terminal.press("a\n")

    assert daemon.next(AnswerRequest).questions == (3,)


def test_all_of_a_program_are_answered_after_a_yes(
    daemon: ScriptedDaemon, terminal: Terminal
) -> None:
    terminal.press("R\n")
    terminal.wait("Answer 3 questions: reject", "y: yes")
    terminal.press("y\n")

    assert daemon.next(AnswerRequest).questions == (1, 2, 3)


def test_a_line_that_came_before_the_question_answers_nothing(daemon: ScriptedDaemon) -> None:
    with prompting(daemon.path, guard_ms=HOUR_MS, size=SIZE, environment=DUMB) as terminal:
        terminal.wait("nothing is asked")
        daemon.ask(question(1))
        terminal.wait(ASKS)
        terminal.press("a\n")

        terminal.wait("too early: nobody has read this question yet")
        assert not daemon.has_heard(AnswerRequest)


def test_a_half_typed_line_does_not_answer_the_next_question(
    daemon: ScriptedDaemon, terminal: Terminal
) -> None:
    terminal.press("a")
    daemon.end(1, "answered", "deny")
    terminal.wait("denied elsewhere, by root", "192.0.2.2 port 443", f"1 more wait: {ASKS}")
    terminal.press("\nl\n")
    terminal.wait("  3  curl")

    assert not daemon.has_heard(AnswerRequest)


def test_help_mode_and_rule_are_there_as_well(daemon: ScriptedDaemon, terminal: Terminal) -> None:
    terminal.press("m\n")
    terminal.wait("1 2 3: set    t: for how long    x: back")
    terminal.press("3\n")
    assert daemon.next(ModeRequest) == ModeRequest("deny-silently", 900.0)
    terminal.wait("the mode is deny-silently now for 15 minutes")
    terminal.press("forever p\n")
    terminal.wait("name: program to address-port", "a d r: answer")
    terminal.press("?\n")
    terminal.wait("look at question 4")
    terminal.press("x\n")
    terminal.wait("for ever: until somebody revokes it", "user        alice")
    terminal.press("dance\n")
    terminal.wait("dance means nothing here; ? says what does")
    terminal.press("q\n")

    assert terminal.end() == 0
    assert "3 questions still asked" in terminal.text


def test_the_end_of_input_is_the_end(terminal: Terminal) -> None:
    terminal.press("\x04")

    assert terminal.end() == 0


def test_hostile_text_is_shown_escaped(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1, owner={"args": ["\x1b]0;owned\x07", "\u202e", "x" * 500_000]}))
    with prompting(daemon.path, size=SIZE, environment=DUMB) as terminal:
        terminal.wait(r"\x1b]0;owned\x07", r"\u202e", ASKS)

    assert b"\x1b" not in terminal.raw
    assert len(terminal.raw) < 10_000


def test_a_daemon_that_is_gone_is_waited_for_or_ends_it(daemon: ScriptedDaemon) -> None:
    with prompting(daemon.path, "--follow", size=SIZE, environment=DUMB) as terminal:
        daemon.ask(question(1))
        terminal.wait(ASKS)
        daemon.hang_up()
        terminal.wait("the daemon is gone", "no daemon; waiting for one")
        daemon.come_back()
        daemon.ask(question(2))
        terminal.wait("curl wants to connect to 192.0.2.2")
    with prompting(daemon.path, size=SIZE, environment=DUMB) as terminal:
        terminal.wait("curl wants to connect to 192.0.2.2")
        daemon.hang_up()

        assert terminal.end() == 3


def test_who_may_only_look_is_told_so(daemon: ScriptedDaemon) -> None:
    daemon.rights = ("watch",)
    daemon.ask(question(1))
    with prompting(daemon.path, size=SIZE, environment=DUMB) as terminal:
        terminal.wait("you may look only: l list", "curl wants")
        terminal.press("a\n")
        terminal.wait("you may look only: you have no right to answer")

        assert not daemon.has_heard(AnswerRequest)
