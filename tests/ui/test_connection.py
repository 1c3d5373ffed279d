"""The connection: gone and back, refused, nonsense; modes; and what the tray shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PyQt6.QtCore import QSettings
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import (
    Asked,
    ModeChanged,
    ModeRequest,
    QuestionsRequest,
    Refused,
    RulesChanged,
    Stopping,
    WatchRequest,
    encode,
)
from nfsnitch_ui.application import Program
from nfsnitch_ui.connection import Link
from nfsnitch_ui.icons import tray_icon
from ui import examples
from ui.hands import shows
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

pytestmark = pytest.mark.ui


def test_the_first_requests_are_for_questions_and_records(
    program: Program, daemon: PlayDaemon
) -> None:
    wait_for(lambda: len(daemon.requests) >= 2)
    assert program.connection.link is Link.ON
    assert [type(each) for each in daemon.requests[:2]] == [QuestionsRequest, WatchRequest]


def test_a_daemon_that_goes_and_comes_back_is_found_again(
    application: QApplication, tmp_path: Path, settings: QSettings, clock: Clock
) -> None:
    assert application is not None
    path = tmp_path / "socket"
    first = PlayDaemon(path)
    first.questions.append(examples.asked(1))
    program = Program(str(path), settings, clock)
    program.start(is_hidden=True)
    prompt = shows(program, 1)
    first.close()
    wait_for(lambda: program.connection.link is Link.NONE)
    settle()
    assert not prompt.isVisible()
    assert program.tray.state() == "none"
    wait_for(lambda: program.main.state.text() == "No firewall")
    second = PlayDaemon(path)
    second.questions.append(examples.asked(2))
    shows(program, 2)
    assert program.main.state.text() == "The firewall runs"
    program.close()
    settle()
    second.close()


def test_a_question_that_waits_since_before_the_start_is_shown(
    application: QApplication, daemon: PlayDaemon, settings: QSettings, clock: Clock
) -> None:
    """So a program that was killed has lost nothing."""
    assert application is not None
    daemon.questions.append(examples.asked(41))
    program = Program(str(daemon.path), settings, clock)
    program.start(is_hidden=True)
    shows(program, 41)
    program.close()
    settle()


def test_who_is_not_let_in_reads_why(
    application: QApplication, daemon: PlayDaemon, settings: QSettings, clock: Clock
) -> None:
    assert application is not None
    daemon.answers[QuestionsRequest] = lambda _it: Refused("not-allowed", "uid 1000 may not")
    program = Program(str(daemon.path), settings, clock)
    program.start(is_hidden=True)
    wait_for(lambda: program.connection.link is Link.REFUSED)
    assert program.main.state.text() == "The firewall does not let you in"
    assert "adding you to its group" in program.main.detail.text()
    assert program.tray.state() == "none"
    program.close()
    settle()


@pytest.mark.parametrize("nonsense", [b"hello\n", b'{"v":1,"type":"question"}\n', b"x" * 1_100_000])
def test_nonsense_from_the_daemon_ends_the_connection_and_not_the_program(
    nonsense: bytes, program: Program, daemon: PlayDaemon
) -> None:
    daemon.send_raw(nonsense)
    wait_for(lambda: program.connection.link is Link.REFUSED)
    assert program.connection.problem != ""
    assert program.main.detail.text() == program.connection.problem


def test_many_messages_in_one_piece_are_all_taken(program: Program, daemon: PlayDaemon) -> None:
    asked = [encode(examples.asked(number)) for number in range(1, 500)]
    daemon.send_raw(b"".join(asked))
    wait_for(lambda: len(program.questions) == len(asked))
    assert program.questions.numbers()[-1] == 499


def test_unknown_keys_of_a_later_daemon_do_no_harm(program: Program, daemon: PlayDaemon) -> None:
    line = encode(examples.asked(3)).replace(b'{"v":1,', b'{"v":1,"new":[1],')
    daemon.send_raw(line)
    shows(program, 3)


def test_the_mode_is_set_from_the_menu_and_shown(program: Program, daemon: PlayDaemon) -> None:
    assert program.main.detail.text() == "Ask me"
    program.modes.actions["deny-silently"].trigger()
    wait_for(lambda: program.tray.state() == "deny-silently")
    assert daemon.asked_for(ModeRequest) == [ModeRequest("deny-silently", None)]
    assert program.main.detail.text() == "Deny silently"
    assert program.modes.actions["deny-silently"].isChecked()


def test_a_pause_allows_silently_for_a_while(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    pause = next(each for each in program.modes.pauses if "15" in each.text())
    pause.trigger()
    wait_for(lambda: daemon.asked_for(ModeRequest))
    assert daemon.asked_for(ModeRequest) == [ModeRequest("allow-silently", 900.0)]
    wait_for(lambda: program.modes.text() == "Allow silently, 15 min more")
    clock.now_s += 300
    assert program.modes.text() == "Allow silently, 10 min more"
    daemon.send(ModeChanged("ask", None))
    wait_for(lambda: program.modes.text() == "Ask me")


def test_a_mode_that_is_refused_is_told_and_not_shown(program: Program, daemon: PlayDaemon) -> None:
    daemon.answers[ModeRequest] = lambda _it: Refused("not-allowed", "no, you may not")
    program.modes.actions["deny-silently"].trigger()
    wait_for(lambda: program.main.status.whole_text() == "no, you may not")
    assert program.modes.actions["ask"].isChecked()


def test_who_may_only_watch_cannot_set_the_mode(reader: Program) -> None:
    actions = (*reader.modes.actions.values(), *reader.modes.pauses)
    assert not any(action.isEnabled() for action in actions)
    assert "You may look, but not answer" in reader.main.detail.text()


def test_the_tray_counts_questions(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1), examples.asked(2))
    wait_for(lambda: "2 questions wait" in program.tray.icon.toolTip())
    assert program.tray.questions_action.isEnabled()


def test_every_state_has_an_icon_of_its_own(application: QApplication) -> None:
    assert application is not None
    states = [("ask", 0), ("ask", 3), ("ask", 30), ("allow-silently", 0), ("deny-silently", 0)]
    pictures = [
        tray_icon(state, count).pixmap(22, 22).toImage() for state, count in (*states, ("none", 0))
    ]
    for place, picture in enumerate(pictures):
        assert all(picture != other for other in pictures[place + 1 :])


def test_a_daemon_that_stops_says_so_to_nobodys_harm(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(RulesChanged(2), Stopping(), examples.asked(1))
    shows(program, 1)
    assert isinstance(program.questions.get(1).asked, Asked)  # type: ignore[union-attr]  # it is shown
