"""The window that asks: what it shows, what it sends, and what it does not let happen."""

from __future__ import annotations

from datetime import datetime

import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QApplication, QLabel, QWidget

from nfsnitch.protocol import AnswerRequest, Ended, Preview, PreviewRequest
from nfsnitch_ui.application import Program
from nfsnitch_ui.guard import GUARD_S
from nfsnitch_ui.question_panel import QuestionPanel
from nfsnitch_ui.text import ElidedLabel
from ui import examples
from ui.hands import click, focus, hold, let_go, past_guard, press, shows
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

pytestmark = pytest.mark.ui


def _facts(panel: QuestionPanel) -> dict[str, str]:
    """Return the facts that are to be read, without the middle left out."""
    grid = panel.facts.layout()
    assert grid is not None
    widgets = [item.widget() for at in range(grid.count()) if (item := grid.itemAt(at))]
    labels, values = widgets[::2], widgets[1::2]
    return {
        label.text(): value.whole_text()
        for label, value in zip(labels, values, strict=True)
        if isinstance(label, QLabel) and isinstance(value, ElidedLabel) and not label.isHidden()
    }


def _answers(daemon: PlayDaemon) -> list[AnswerRequest]:
    return daemon.asked_for(AnswerRequest)


def test_a_question_says_who_wants_what_and_all_that_is_known(
    program: Program, daemon: PlayDaemon
) -> None:
    who = examples.owner(
        "/usr/lib/firefox-esr/firefox-esr",
        "-new tab",
        desktop={"entry": "firefox.desktop", "name": "Firefox ESR", "icon": None},
        app="flatpak:org.example.Firefox",
    )
    daemon.send(examples.asked(1, who, flows=3))
    panel = shows(program, 1).panel
    texts = (panel.who.text(), panel.wants.text(), panel.where.text())
    assert texts == ("Firefox ESR", "wants to connect to", "192.0.2.1, port 443 (https)")
    assert _facts(panel) == {
        "Program": "/usr/lib/firefox-esr/firefox-esr",
        "Arguments": "firefox-esr '-new tab'",
        "Started by": "bash ← gnome-terminal ← systemd",
        "User": "alice (1000)",
        "App": "flatpak:org.example.Firefox",
        "Unit": "user@1000.service/app-terminal.scope",
        "Package": "firefox-esr",
        "SHA-256": examples.SHA256,
        "Address": "192.0.2.1",
        "Port": "443 (https)",
        "Protocol": "TCP",
        "Why asked": "no rule says what becomes of it",
        "Waiting": "3 connections wait",
    }
    assert program.prompt.countdown.label.text() == "24 s, then it is denied"


def test_what_is_not_known_is_said_with_its_reason(program: Program, daemon: PlayDaemon) -> None:
    who = examples.owner(args={"unknown": "they could not be read"}, uid={"unknown": "no"}, user="")
    daemon.send(examples.asked(1, who, reason="rule", rule="ask me"))
    facts = _facts(shows(program, 1).panel)
    assert facts["Arguments"] == "they could not be read"
    assert facts["Why asked"] == "the rule “ask me” wants it asked"


def test_a_program_that_has_changed_is_warned_of(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1, examples.owner(changed=True)))
    warning = shows(program, 1).panel.warning
    assert warning.isVisible()
    assert "is not the one that was let out before" in warning.text()


def test_the_sender_may_be_no_program(program: Program, daemon: PlayDaemon) -> None:
    reason = {"unknown": "the socket was gone"}
    keys = ("pid", "exe", "args", "uid", "parents", "comm", "cgroup")
    who = {"owner": "unknown", **dict.fromkeys(keys, reason)}
    offered = {"owner": "unknown senders"}
    daemon.send(examples.asked(1, who, reason="unattributed", who=offered))
    prompt = shows(program, 1)
    assert prompt.panel.who.text() == "An unknown program"
    assert _facts(prompt.panel)["Owner"] == "the socket was gone"
    durations = prompt.controls.scope.duration
    assert durations.findData("process") == -1
    assert durations.findData("once") >= 0


OUR_OWN = dict.fromkeys(map(ord, "\u2068\u2069\n"))
"""Keep what is written from right to left by itself."""
HOSTILE = [
    "/opt/<b>safe</b><img src=x>",
    "/opt/\u202egnp.exe",
    "/opt/a\x1b[31m\r\nb",
    "/opt/\udcff",
    "/opt/" + "x" * 60_000,
    "/opt/&Allow",
]


@pytest.mark.parametrize("path", HOSTILE, ids=["markup", "bidi", "control", "bytes", "long", "key"])
def test_hostile_text_is_shown_as_what_it_is(
    path: str, program: Program, daemon: PlayDaemon
) -> None:
    who = examples.owner(path, path, script=path, unit=path, user=path, package=path)
    who["desktop"] = {"entry": path, "name": path, "icon": path}
    daemon.send(examples.asked(1, who, reason="rule", rule=path))
    prompt = shows(program, 1)
    prompt.panel.details_button.setChecked(True)
    daemon.send(examples.asked(2, who))
    wait_for(lambda: len(program.questions) == 2)
    settle()
    for label in program.prompt.findChildren(QLabel):
        text = label.text()
        assert label.textFormat() is Qt.TextFormat.PlainText
        assert text.translate(OUR_OWN).isprintable()
        assert len(text) < 5_000
        assert "<b>" not in label.toolTip()
    assert prompt.panel.whole.toPlainText().replace("\n", "").isprintable()
    assert prompt.list.deny_button.shortcut().isEmpty()


def test_an_argument_of_a_megabyte_is_cut_and_delays_nothing(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.send(examples.asked(1, examples.owner("/usr/bin/curl", "y" * 1_000_000)))
    prompt = shows(program, 1)
    assert len(_facts(prompt.panel)["Arguments"]) < 1_000
    click(prompt.panel.details_button)
    assert 1_000 < len(prompt.panel.whole.toPlainText()) < 100_000


def test_no_label_anywhere_takes_markup(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1))
    shows(program, 1)
    program.open()
    labels = [
        label
        for window in QApplication.topLevelWidgets()
        for label in window.findChildren(QLabel)
        if label.text()
    ]
    assert len(labels) > 20
    assert {label.textFormat() for label in labels} == {Qt.TextFormat.PlainText}


def test_allow_sends_the_narrowest_answer_for_a_quarter_of_an_hour(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(7))
    prompt = shows(program, 7)
    past_guard(clock)
    click(prompt.controls.buttons["allow"])
    wait_for(lambda: _answers(daemon))
    expected = AnswerRequest((7,), "allow", "program", "address-port", "15m", None)
    assert _answers(daemon) == [expected]
    wait_for(lambda: not prompt.isVisible())


@pytest.mark.parametrize(
    ("key", "action"),
    [(Qt.Key.Key_A, "allow"), (Qt.Key.Key_D, "deny"), (Qt.Key.Key_R, "reject")],
)
def test_keys_answer(
    key: Qt.Key, action: str, program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    focus(prompt)
    past_guard(clock)
    press(prompt, key, alt=True)
    wait_for(lambda: _answers(daemon))
    assert _answers(daemon)[0].action == action


def test_dismiss_makes_no_rule(program: Program, daemon: PlayDaemon, clock: Clock) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    past_guard(clock)
    click(prompt.controls.buttons["dismiss"])
    wait_for(lambda: _answers(daemon))
    answer = _answers(daemon)[0]
    assert (answer.action, answer.duration, answer.rule) == ("dismiss", "once", None)


def test_nothing_is_answered_in_the_first_moment(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    focus(prompt)
    clock.now_s += GUARD_S - 0.01
    for button in prompt.controls.buttons.values():
        click(button)
        button.setFocus(Qt.FocusReason.TabFocusReason)
        press(button, Qt.Key.Key_Space)
        press(button, Qt.Key.Key_Return)
    press(prompt, Qt.Key.Key_A, alt=True)
    clock.now_s += 0.02
    click(prompt.controls.buttons["deny"])
    wait_for(lambda: _answers(daemon))
    assert [each.action for each in _answers(daemon)] == ["deny"]


def test_a_question_that_takes_the_place_of_another_is_guarded_anew(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1), examples.asked(2))
    prompt = shows(program, 1)
    past_guard(clock)
    daemon.send(Ended(1, "gone", None, None))
    shows(program, 2)
    click(prompt.controls.buttons["allow"])
    past_guard(clock)
    click(prompt.controls.buttons["deny"])
    wait_for(lambda: _answers(daemon))
    assert [(each.questions, each.action) for each in _answers(daemon)] == [((2,), "deny")]


def test_a_button_held_down_while_the_question_changes_answers_nothing(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1), examples.asked(2))
    prompt = shows(program, 1)
    past_guard(clock)
    allow = prompt.controls.buttons["allow"]
    hold(allow)
    daemon.send(Ended(1, "gone", None, None))
    shows(program, 2)
    past_guard(clock)
    let_go(allow)
    click(prompt.controls.buttons["deny"])
    wait_for(lambda: _answers(daemon))
    assert [each.action for each in _answers(daemon)] == ["deny"]


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space])
def test_a_half_typed_enter_answers_nothing(
    key: Qt.Key, program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    focus(prompt)
    past_guard(clock)
    focused = QApplication.focusWidget()
    press(focused if focused is not None else prompt, key)
    press(prompt, key)
    click(prompt.controls.buttons["reject"])
    wait_for(lambda: _answers(daemon))
    assert [each.action for each in _answers(daemon)] == ["reject"]


def test_enter_presses_the_button_that_somebody_went_to(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    focus(prompt)
    past_guard(clock)
    deny = prompt.controls.buttons["deny"]
    for _step in range(40):
        focused = QApplication.focusWidget() or prompt
        if focused is deny:
            break
        press(focused, Qt.Key.Key_Tab)
    press(deny, Qt.Key.Key_Return)
    wait_for(lambda: _answers(daemon))
    assert _answers(daemon)[0].action == "deny"


def test_escape_hides_the_window_and_keeps_the_question(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    focus(prompt)
    press(prompt, Qt.Key.Key_Escape)
    assert not prompt.isVisible()
    assert 1 in program.questions
    daemon.send(examples.asked(1, flows=9))  # no news
    wait_for(lambda: (it := program.questions.get(1)) and it.asked.flows == 9)
    settle()
    assert not prompt.isVisible()
    daemon.send(examples.asked(2))
    wait_for(prompt.isVisible)


def test_a_new_question_does_not_take_the_place_of_the_one_that_is_read(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.send(examples.asked(5))
    prompt = shows(program, 5)
    prompt.controls.scope.duration.choose("forever")
    daemon.send(examples.asked(6), examples.asked(5, flows=2))
    wait_for(lambda: len(program.questions) == 2)
    settle()
    assert prompt.shown() == (5,)
    assert prompt.controls.scope.duration.key() == "forever"


def test_the_last_choice_is_offered_again_but_never_one_for_a_whole_user(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    for number, who in ((1, "unit"), (2, "user")):
        daemon.send(examples.asked(number))
        scope = shows(program, number).controls.scope
        scope.who.choose(who)
        scope.where.choose("port")
        scope.duration.choose("restart")
        past_guard(clock)
        click(program.prompt.controls.buttons["deny"])
        wait_for(lambda: len(program.questions) == 0)
    daemon.send(examples.asked(3))
    choice = shows(program, 3).controls.scope.choice()
    assert (choice.who, choice.where, choice.duration) == ("unit", "port", "restart")


def test_a_time_can_be_picked(program: Program, daemon: PlayDaemon, clock: Clock) -> None:
    daemon.send(examples.asked(1))
    scope = shows(program, 1).controls.scope
    scope.duration.choose("until")
    assert scope.until.isVisible()
    picked = scope.until.dateTime().addDays(2)
    scope.until.setDateTime(picked)
    past_guard(clock)
    click(program.prompt.controls.buttons["allow"])
    wait_for(lambda: _answers(daemon))
    word, moment = _answers(daemon)[0].duration.split(" ")
    assert word == "until"
    said = datetime.fromisoformat(moment)
    assert said.utcoffset() is not None
    assert said.timestamp() == picked.toSecsSinceEpoch() // 60 * 60


def test_the_wheel_changes_no_choice(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1))
    duration = shows(program, 1).controls.scope.duration
    before = duration.key()
    _turn_wheel(duration)
    assert duration.key() == before


def _turn_wheel(widget: QWidget) -> None:
    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(widget.mapToGlobal(QPoint(5, 5))),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,  # noqa: FBT003  Qt takes no name here
    )
    QApplication.sendEvent(widget, event)


def test_the_icon_of_a_desktop_entry_is_looked_for_after_the_question_is_painted(
    program: Program, daemon: PlayDaemon
) -> None:
    """A pipe with nobody at its other end would stop a program that opens it."""
    who = examples.owner(desktop={"entry": "x", "name": "X", "icon": "/dev/zero"})
    daemon.send(examples.asked(1, who))
    prompt = shows(program, 1)
    assert not prompt.panel.icon.pixmap().isNull()


def test_an_answer_previews_as_a_rule(program: Program, daemon: PlayDaemon) -> None:
    daemon.answers[PreviewRequest] = lambda _it: Preview("name: x\naction: allow\n")
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    assert daemon.asked_for(PreviewRequest) == []
    click(prompt.controls.rule_button)
    wait_for(lambda: prompt.controls.editor.rule() == "name: x\naction: allow\n")
