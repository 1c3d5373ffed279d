"""Many questions, others who answer, and answers that go wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest
from PyQt6.QtCore import QItemSelectionModel, Qt

from nfsnitch.protocol import (
    Answered,
    AnswerRequest,
    Checked,
    CheckRuleRequest,
    Ended,
    Preview,
    PreviewRequest,
    Refused,
    Resync,
)
from nfsnitch_ui.application import Program
from ui import examples
from ui.hands import click, focus, past_guard, press, shows
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

pytestmark = pytest.mark.ui

RULE = "name: x\naction: allow\nexe: /usr/bin/curl\n"


def _answers(daemon: PlayDaemon) -> list[AnswerRequest]:
    return daemon.asked_for(AnswerRequest)


def _ask(program: Program, daemon: PlayDaemon, count: int) -> None:
    daemon.send(*(examples.asked(number) for number in range(1, count + 1)))
    wait_for(lambda: len(program.questions) == count)
    shows(program, 1)


def _are_left(program: Program, count: int) -> bool:
    return len(program.questions) == count


def _select(program: Program, *numbers: int) -> None:
    listed = program.prompt.list
    selection = listed.view.selectionModel()
    assert selection is not None
    selection.clearSelection()
    for number in numbers:
        how = QItemSelectionModel.SelectionFlag
        selection.select(
            listed.model.index(listed.model.row(number) or 0, 0), how.Select | how.Rows
        )
    shows(program, *numbers)


def test_the_list_appears_when_there_is_more_than_one(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    assert not prompt.list.isVisible()
    daemon.send(examples.asked(2))
    wait_for(prompt.list.isVisible)
    assert prompt.list.title.text() == "2 questions wait"
    daemon.send(Ended(2, "gone", None, None))
    wait_for(lambda: not prompt.list.isVisible())


def test_questions_are_answered_in_any_order(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    _ask(program, daemon, 4)
    for left, number in ((3, 3), (2, 1)):
        _select(program, number)
        past_guard(clock)
        click(program.prompt.controls.buttons["allow"])
        wait_for(partial(_are_left, program, left))
    assert [each.questions for each in _answers(daemon)] == [(3,), (1,)]
    assert program.questions.numbers() == [2, 4]


def test_arrow_keys_walk_through_the_list(program: Program, daemon: PlayDaemon) -> None:
    _ask(program, daemon, 3)
    focus(program.prompt)
    program.prompt.list.view.setFocus()
    press(program.prompt.list.view, Qt.Key.Key_Down)
    press(program.prompt.list.view, Qt.Key.Key_Down)
    shows(program, 3)


def test_several_are_answered_together(program: Program, daemon: PlayDaemon, clock: Clock) -> None:
    other = examples.asked(3, examples.owner("/usr/bin/wget"))
    daemon.send(examples.asked(1), examples.asked(2), replace(other, who={"program": "wget"}))
    wait_for(lambda: len(program.questions) == 3)
    _select(program, 1, 3)
    assert program.prompt.panel.who.text() == "2 questions"
    scope = program.prompt.controls.scope
    assert [scope.who.itemData(place) for place in range(scope.who.count())] == ["program"]
    past_guard(clock)
    click(program.prompt.controls.buttons["reject"])
    wait_for(lambda: _answers(daemon))
    assert (_answers(daemon)[0].questions, _answers(daemon)[0].action) == ((1, 3), "reject")


def test_everything_from_one_program_is_denied_at_once(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    wget = examples.owner("/usr/bin/wget")
    daemon.send(examples.asked(1), examples.asked(2, wget), examples.asked(3))
    wait_for(lambda: len(program.questions) == 3)
    button = program.prompt.list.deny_button
    wait_for(lambda: "from curl" in button.text())
    past_guard(clock)
    click(button)
    wait_for(lambda: _answers(daemon))
    expected = AnswerRequest((1, 3), "deny", "program", "anywhere", "15m", None)
    assert _answers(daemon) == [expected]


def test_a_thousand_questions_are_one_list_without_widgets(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    _ask(program, daemon, 1_000)
    view = program.prompt.list.view
    assert len(view.findChildren(type(program.prompt.panel.who))) == 0
    view.selectAll()
    wait_for(lambda: len(program.prompt.shown()) == 1_000)
    past_guard(clock)
    click(program.prompt.controls.buttons["deny"])
    wait_for(lambda: len(program.questions) == 0)
    assert [len(each.questions) for each in _answers(daemon)] == [1_000]


def test_who_else_has_answered_is_said(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1), examples.asked(2))
    prompt = shows(program, 1)
    daemon.send(Ended(1, "answered", "deny", os.getuid()))
    shows(program, 2)
    name = "root" if os.getuid() == 0 else ""
    said = prompt.status.whole_text()
    assert said.endswith("has answered: curl → 192.0.2.1:443 is denied.")
    assert said.startswith(name)


def test_the_window_still_says_who_took_the_last_question(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    daemon.send(Ended(1, "unanswered", None, None))
    wait_for(lambda: prompt.shown() == ())
    assert prompt.isVisible()
    assert not prompt.controls.isVisible()
    assert prompt.status.whole_text() == "Time is over for curl → 192.0.2.1:443."


def test_an_answer_that_came_too_late_says_who_was_first(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.answers[AnswerRequest] = lambda _it: Answered((), (), None)
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    prompt.controls.answer("allow")
    program.connection.arrived.emit(Ended(1, "answered", "reject", 0))  # on its way before
    wait_for(lambda: prompt.status.whole_text() != "")
    said = "root has answered: curl → 192.0.2.1:443 is rejected."
    assert prompt.status.whole_text() == said


def test_an_answer_to_what_nobody_knows_of_any_more_is_told(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.answers[AnswerRequest] = lambda _it: Answered((), (), None)
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    past_guard(clock)
    click(prompt.controls.buttons["allow"])
    wait_for(lambda: 1 not in program.questions)
    assert prompt.status.whole_text() == "That question had ended before."


def test_our_own_answer_is_no_news(program: Program, daemon: PlayDaemon, clock: Clock) -> None:
    daemon.send(examples.asked(1), examples.asked(2))
    prompt = shows(program, 1)
    past_guard(clock)
    click(prompt.controls.buttons["allow"])
    daemon.send(Ended(1, "answered", "allow", os.getuid()))
    shows(program, 2)
    assert prompt.status.whole_text() == ""


def test_a_refused_answer_leaves_the_question_and_says_why(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.answers[AnswerRequest] = lambda _it: Refused("bad-answer", "no such\x1b scope")
    daemon.send(examples.asked(1))
    prompt = shows(program, 1)
    past_guard(clock)
    click(prompt.controls.buttons["allow"])
    wait_for(prompt.status.isVisible)
    assert prompt.status.whole_text() == "The answer was not taken: no such\\x1b scope"
    assert prompt.shown() == (1,)
    wait_for(prompt.controls.isEnabled)


def test_a_rule_that_could_not_be_kept_is_told(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.answers[AnswerRequest] = lambda _it: Answered((1,), ("x",), "the disk is full")
    daemon.send(examples.asked(1), examples.asked(2))
    prompt = shows(program, 1)
    past_guard(clock)
    click(prompt.controls.buttons["allow"])
    shows(program, 2)
    assert "the disk is full" in prompt.status.whole_text()


def test_after_a_resync_only_what_is_told_again_is_left(
    program: Program, daemon: PlayDaemon
) -> None:
    _ask(program, daemon, 3)
    daemon.send(Resync(), examples.asked(1), examples.asked(3))
    wait_for(lambda: program.questions.numbers() == [1, 3])
    assert program.prompt.shown() == (1,)


def test_an_edited_rule_is_sent_with_the_action_of_the_button(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.answers[PreviewRequest] = lambda _it: Preview(RULE)
    daemon.send(examples.asked(1))
    controls = shows(program, 1).controls
    click(controls.rule_button)
    wait_for(lambda: controls.editor.rule() == RULE)
    controls.editor.field.setPlainText(RULE + "dport: 443\n")
    wait_for(lambda: daemon.asked_for(CheckRuleRequest))
    past_guard(clock)
    click(controls.buttons["deny"])
    wait_for(lambda: _answers(daemon))
    assert _answers(daemon)[0].rule == RULE.replace("allow", "deny") + "dport: 443\n"


def test_a_wrong_rule_is_not_sent_and_its_problems_are_shown_in_place(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    problem = {"line": 3, "column": 6, "what": "exe", "why": "no path", "instead": "write one"}
    daemon.answers[PreviewRequest] = lambda _it: Preview(RULE)
    daemon.answers[CheckRuleRequest] = lambda _it: Checked((problem,))
    daemon.send(examples.asked(1))
    controls = shows(program, 1).controls
    click(controls.rule_button)
    wait_for(lambda: controls.editor.rule() == RULE)
    controls.editor.field.setPlainText(RULE.replace("/usr", "usr"))
    wait_for(lambda: controls.editor.problems)
    assert controls.editor.problems_text() == "line 3: exe; no path; write one"
    marked = controls.editor.field.extraSelections()[0].cursor
    assert marked.selectedText() == "usr/bin/curl"
    past_guard(clock)
    click(controls.buttons["allow"])
    assert _answers(daemon) == []
    click(controls.buttons["dismiss"])
    wait_for(lambda: not program.prompt.isVisible())


def test_the_preview_follows_scope_and_button(program: Program, daemon: PlayDaemon) -> None:
    daemon.send(examples.asked(1))
    controls = shows(program, 1).controls
    click(controls.rule_button)
    wait_for(lambda: "address-port, 15m" in controls.editor.rule())
    controls.scope.where.choose("anywhere")
    wait_for(lambda: "anywhere, 15m" in controls.editor.rule())
    controls.buttons["deny"].considered.emit()
    wait_for(lambda: "action: deny" in controls.editor.rule())
    controls.scope.duration.choose("once")
    wait_for(lambda: controls.editor.rule() == "")


def test_a_rule_with_unseen_characters_is_not_offered_for_editing(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.answers[PreviewRequest] = lambda _it: Preview("exe: /opt/\u202egnp\n")
    daemon.send(examples.asked(1))
    controls = shows(program, 1).controls
    click(controls.rule_button)
    wait_for(lambda: controls.editor.field.toPlainText() != "")
    assert controls.editor.field.toPlainText() == "exe: /opt/\\u202egnp\n"
    assert controls.editor.field.isReadOnly()


def test_without_the_right_to_answer_one_may_look(
    reader: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.send(examples.asked(1))
    controls = shows(reader, 1).controls
    past_guard(clock)
    assert not any(button.isEnabled() for button in controls.buttons.values())
    assert not controls.scope.who.isEnabled()
    assert "You may look, but not answer" in controls.note.text()
    controls.answer("allow")
    settle()
    assert _answers(daemon) == []
