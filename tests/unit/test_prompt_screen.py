"""``nfsnitch prompt`` at a real terminal, as a person sees it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.protocol import (
    Answered,
    AnswerRequest,
    ModeRequest,
    Preview,
    PreviewRequest,
    Refused,
    Reply,
    Resync,
    Stopping,
    Why,
)
from prompt_play import READY, prompting
from scripted_daemon import ScriptedDaemon, question

HOUR_MS = 3_600_000


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


def test_a_question_says_in_words_who_wants_what_and_why(daemon: ScriptedDaemon) -> None:
    owner = {"app": "flatpak:org.example.App", "changed": True, "previous_sha256": "ab" * 32}
    daemon.ask(question(1, owner=owner, reason="rule", rule="ask about curl", flows=3))
    with prompting(daemon.path) as terminal:
        screen = terminal.wait(READY)

    for words in (
        "curl wants to connect to 192.0.2.1 port 443 (https)",
        "s left, then deny",
        "CHANGED     another file than the one let out last",
        "/usr/bin/curl, process 4711",
        "curl -sS http://192.0.2.1/",
        "started by  bash ← sshd",
        "user        alice (uid 0)",
        "app         flatpak:org.example.App",
        "unit        session-3.scope",
        "package     curl",
        "9f86d081884c7d659a2feaa0c55ad015",
        "192.0.2.1 port 443 (https), tcp, by eth0",
        "rule 'ask about curl' wants it asked",
        "3 connections",
        "this program: /usr/bin/curl",
        "once: what waits now, and no rule",
        "mode ask",
    ):
        assert words in screen


@pytest.mark.parametrize(
    ("key", "action"), [("a", "allow"), ("d", "deny"), ("r", "reject"), ("s", "dismiss")]
)
def test_each_key_gives_its_answer(daemon: ScriptedDaemon, key: str, action: str) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press(key)

        answer = daemon.next(AnswerRequest)
        assert answer == AnswerRequest((1,), action, "program", "address-port", "once", None)
        terminal.wait("Nothing is asked", "by you")


def test_who_where_and_how_long_are_chosen_by_keys_and_kept(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1), question(2))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("wettT")
        terminal.wait("unit: session-3.scope", "anywhere", "while this process lives")
        terminal.press("a")
        first = daemon.next(AnswerRequest)
        terminal.wait("connect to 192.0.2.2", READY)
        terminal.press("a")
        second = daemon.next(AnswerRequest)

    assert first == AnswerRequest((1,), "allow", "unit", "anywhere", "process", None)
    assert second == AnswerRequest((2,), "allow", "unit", "anywhere", "process", None)


def test_an_answer_can_be_good_until_a_time_that_is_typed(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, environment={"TZ": "UTC"}) as terminal:
        terminal.wait(READY)
        terminal.press("T")
        terminal.wait("until when?")
        terminal.press("2130-02-31\r")
        terminal.wait("is no time")
        terminal.press("\x7f\x7f28\r")
        terminal.wait("until 2130-03-01 00:00", READY)
        terminal.press("d")

        assert daemon.next(AnswerRequest).duration == "until 2130-03-01T00:00:00Z"


def test_a_key_typed_before_anybody_can_have_read_the_question_answers_nothing(
    daemon: ScriptedDaemon,
) -> None:
    with prompting(daemon.path, guard_ms=HOUR_MS) as terminal:
        terminal.wait("Nothing is asked")
        daemon.ask(question(1))
        terminal.wait("a moment to read it", without=READY)
        terminal.press("adrsAD\r")
        terminal.press("?")

        terminal.wait("another question, as do the arrow keys")
        assert not daemon.has_heard(AnswerRequest)
        assert list(daemon.questions) == [1]


def test_once_a_moment_has_passed_the_keys_count(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, guard_ms=300) as terminal:
        terminal.wait("a moment to read it")
        terminal.wait(READY)
        terminal.press("a")

        assert daemon.next(AnswerRequest).action == "allow"


def test_a_question_that_becomes_another_has_to_be_read_again(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, guard_ms=1_000) as terminal:
        terminal.wait(READY)
        daemon.ask(question(1, owner={"changed": True}))
        terminal.wait("CHANGED", "a moment to read it", without=READY)
        terminal.wait(READY)


def test_keys_typed_ahead_do_not_answer_the_next_question(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1), question(2), question(3))
    with prompting(daemon.path, guard_ms=300) as terminal:
        terminal.wait(READY)
        terminal.press("aaaa")
        terminal.wait("2 questions", "192.0.2.2 port 443")

        assert daemon.next(AnswerRequest).questions == (1,)
        terminal.wait(READY)
        assert not daemon.has_heard(AnswerRequest)


def test_the_rest_of_an_escape_sequence_is_no_key(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("\x1b[57;9;1a")  # no key that is known here
        terminal.press("\x1b[200~allow\x1b[201~")
        terminal.wait("pasted text answers nothing")

        assert not daemon.has_heard(AnswerRequest)


def test_what_programs_say_cannot_write_to_the_terminal(daemon: ScriptedDaemon) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\r\n"
    owner = {
        "exe": f"/opt/{evil}",
        "args": [evil, "--all"],
        "unit": evil,
        "user": evil,
        "desktop": {"entry": evil, "name": evil, "icon": None},
    }
    scope = {"who": {"program": evil}, "where": {"anywhere": evil}}
    asked = question(1, owner=owner, rule=evil, reason="rule", iface=evil, **scope)
    daemon.ask(asked, question(2, owner=owner))
    with prompting(daemon.path) as terminal:
        screen = terminal.wait(READY, r"\x1b[2J", r"\u202e")
        daemon.end(2, evil)
        terminal.wait("1 question")

    assert "owned\x07" not in terminal.raw.decode()
    assert "\u202e" not in terminal.raw.decode()
    assert "\x9b" not in terminal.raw.decode()
    assert b"\x1b[2J\x9b" not in terminal.raw
    assert "--all" in screen


def test_arguments_of_a_megabyte_leave_room_for_the_rest(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1, owner={"args": ["curl", "x" * 1_000_000, "y"]}))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY, "user        alice", "v: all")
        terminal.press("v")
        terminal.wait("more: PgDn")
        for _ in range(30):
            terminal.press("\x1b[6~")

        assert "992000 more characters" in terminal.wait("992000 more characters", READY)


def test_questions_wait_in_a_list_and_are_answered_in_any_order(daemon: ScriptedDaemon) -> None:
    daemon.ask(*(question(number) for number in range(1, 5)))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY, "4 questions", "> 1", "  4  curl → 192.0.2.4:443 tcp")
        terminal.press("jj")
        terminal.wait("connect to 192.0.2.3", "> 3")
        terminal.press("\x1b[A")
        terminal.wait("> 2", READY)
        terminal.press("d")

        assert daemon.next(AnswerRequest).questions == (2,)
        terminal.wait("3 questions", "> 3")


def test_all_of_one_program_are_answered_together_after_a_yes(daemon: ScriptedDaemon) -> None:
    other = {"exe": "/usr/bin/wget", "comm": "wget"}
    daemon.ask(question(1), question(2, owner=other), question(3))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("D")
        terminal.wait("2 questions: denied?")
        terminal.press("n")
        terminal.wait("nothing answered", READY)
        terminal.press("D")
        terminal.wait("2 questions: denied?")
        terminal.press("y")

        assert daemon.next(AnswerRequest).questions == (1, 3)
        terminal.wait("wget wants", "1 question")
        assert not daemon.has_heard(AnswerRequest)


def test_those_that_are_selected_are_answered_together(daemon: ScriptedDaemon) -> None:
    daemon.ask(*(question(number) for number in range(1, 4)))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press(" jj ")
        terminal.wait(" *1", ">*3", READY)
        terminal.press("A")
        terminal.wait("2 questions: allowed?")
        terminal.press("y")

        assert daemon.next(AnswerRequest).questions == (1, 3)


def test_when_somebody_else_answers_it_says_who(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        daemon.end(1, "answered", "deny")

        terminal.wait("denied elsewhere, by root", "Nothing is asked")


def test_an_answer_that_comes_second_is_told_so(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))

    def too_late(_request: AnswerRequest) -> list[Reply]:
        daemon.end(1, "answered", "deny")
        return [Answered((), (), None)]

    daemon.instead[AnswerRequest] = too_late
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("a")

        terminal.wait("too late for 1 question", "denied elsewhere, by root")


def test_a_question_that_nobody_answers_says_what_became_of_it(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1, left_s=3.0))
    with prompting(daemon.path) as terminal:
        terminal.wait("2 s left")  # it counts down
        daemon.end(1, "unanswered")

        terminal.wait("nobody answered in time: deny")


def test_a_refused_answer_leaves_the_question(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    daemon.instead[AnswerRequest] = lambda _: [Refused(Why.BAD_ANSWER, "no such scope")]
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("a")

        terminal.wait("not answered: no such scope", READY, "1 question")


def test_the_mode_is_set_for_a_while(daemon: ScriptedDaemon) -> None:
    with prompting(daemon.path) as terminal:
        terminal.wait("Nothing is asked")
        terminal.press("m")
        terminal.wait("for 15m, then it asks again")
        terminal.press("t2")

        assert daemon.next(ModeRequest) == ModeRequest("allow-silently", 3_600.0)
        terminal.wait("mode allow-silently (60 min left)")


def test_who_may_only_look_sees_all_and_answers_nothing(daemon: ScriptedDaemon) -> None:
    daemon.rights = ("watch",)
    daemon.ask(question(1), question(2))
    with prompting(daemon.path) as terminal:
        terminal.wait("curl wants to connect", "you may look only", without=READY)
        terminal.press("aAm2")
        terminal.wait("the mode is for those who may answer")
        terminal.press("q")

        assert terminal.end() == 0
        assert not daemon.has_heard(AnswerRequest)
        assert not daemon.has_heard(ModeRequest)


def test_leaving_loses_nothing(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("q")

        assert terminal.end() == 0
        assert "1 question still asked" in terminal.text
    with prompting(daemon.path) as terminal:
        terminal.wait("curl wants to connect")
        terminal.press("\x03")

        assert terminal.end() == 130


def test_a_daemon_that_stops_or_is_gone_ends_it(daemon: ScriptedDaemon) -> None:
    with prompting(daemon.path) as terminal:
        terminal.wait("Nothing is asked")
        daemon.hang_up()

        assert terminal.end() == 3
        assert "the daemon is gone, without a word" in terminal.text
    daemon.come_back()
    with prompting(daemon.path) as terminal:
        terminal.wait("Nothing is asked")
        daemon.say(Stopping())
        daemon.hang_up()

        assert terminal.end() == 0
        assert "the daemon has stopped" in terminal.text


def test_it_waits_for_the_next_daemon_if_it_is_to(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1))
    with prompting(daemon.path, "--follow") as terminal:
        terminal.wait(READY)
        daemon.hang_up()
        terminal.wait("no daemon, waiting for one", "the daemon is gone")
        daemon.come_back()
        daemon.ask(question(2))

        terminal.wait("connect to 192.0.2.2", READY)


def test_questions_are_asked_anew_after_some_could_not_be_sent(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1), question(2))
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("j")
        terminal.wait("> 2")
        daemon.say(Resync(), question(2), question(3))

        terminal.wait("> 2", "  3", "2 questions", without="192.0.2.1:443")


def test_without_a_daemon_it_ends_before_it_draws(daemon: ScriptedDaemon) -> None:
    daemon.hang_up()
    with prompting(daemon.path) as terminal:
        assert terminal.end() == 3
    assert "no daemon: there is no socket" in terminal.text


def test_whom_the_daemon_refuses_is_told_why(daemon: ScriptedDaemon) -> None:
    daemon.rights = ()
    with prompting(daemon.path) as terminal:
        assert terminal.end() == 4
    assert "nfsnitch: only members of nfsnitch may" in terminal.text


def test_it_fits_any_window_and_follows_its_size(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1, owner={"changed": True}), question(2))
    with prompting(daemon.path, size=(40, 14)) as terminal:
        terminal.wait(READY, "CHANGED", "2 questions", "t how long")
        terminal.resize(100, 40)
        terminal.wait("curl wants to connect to 192.0.2.1 port 443 (https)", "> 1", "sha256")
        terminal.resize(30, 6)
        terminal.wait("curl wants to connect to", without="sha256")
        terminal.resize(80, 24)
        terminal.wait("user        alice", READY)
        terminal.press("a")

        assert daemon.next(AnswerRequest).questions == (1,)


def test_no_colours_where_none_are_wanted(daemon: ScriptedDaemon) -> None:
    daemon.ask(question(1, owner={"changed": True}))
    with prompting(daemon.path, environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait(READY, "CHANGED")
    assert b"\x1b[0;31" not in terminal.raw
    assert b";3" not in terminal.raw.replace(b"38;2", b"")


def test_a_thousand_questions_are_no_burden(daemon: ScriptedDaemon) -> None:
    daemon.ask(*(question(number) for number in range(1, 1_001)))
    with prompting(daemon.path) as terminal:
        terminal.wait("1000 questions", READY)
        terminal.press("D")
        terminal.wait("1000 questions: denied?")
        terminal.press("y")

        assert len(daemon.next(AnswerRequest).questions) == 1_000
        terminal.wait("1000 questions: denied by you", "Nothing is asked")


def test_ended_by_a_signal_it_leaves_the_terminal_as_it_was(daemon: ScriptedDaemon) -> None:
    with prompting(daemon.path) as terminal:
        terminal.wait("Nothing is asked")
        terminal.send_signal(signal.SIGTERM)

        assert terminal.end() == 143
        assert terminal.raw.rstrip().endswith(b"\x1b[?25h")  # the cursor is back


def test_a_preview_that_comes_late_is_for_the_question_that_was_looked_at(
    daemon: ScriptedDaemon,
) -> None:
    daemon.ask(question(1))
    daemon.instead[PreviewRequest] = lambda asked: [Preview(f"name: of {asked.question}\n")]
    with prompting(daemon.path) as terminal:
        terminal.wait(READY)
        terminal.press("ttp")
        terminal.wait("name: of 1")
        daemon.end(1, "gone")

        terminal.wait("the program has given up", without="name: of 1")
