"""The rules in the main window: read, edited, moved, switched off, deleted and brought back."""

from __future__ import annotations

import pytest
from PyQt6.QtCore import QMimeData, QModelIndex, Qt
from PyQt6.QtWidgets import QMessageBox

from nfsnitch.protocol import (
    AddRuleRequest,
    ChangeRuleRequest,
    Checked,
    MoveRuleRequest,
    Refused,
    RevokeRequest,
    Rules,
    RulesChanged,
    RulesRequest,
)
from nfsnitch_ui.application import Program
from nfsnitch_ui.facts import Json
from nfsnitch_ui.views.rules import RulesView
from ui import examples
from ui.hands import click
from ui.pages import paged, texts
from ui.play_daemon import PlayDaemon
from ui.waiting import settle, wait_for

pytestmark = pytest.mark.ui


def _rules(program: Program, daemon: PlayDaemon, rows: list[Json], select: int = 0) -> RulesView:
    daemon.answers[RulesRequest] = paged(Rules, rows)
    program.open()
    view = program.main.rules
    program.main.tabs.setCurrentWidget(view)
    wait_for(lambda: view.table.model_.rows[:1] == rows[:1])
    view.table.selectRow(select)
    return view


def test_rules_say_what_they_do_and_how_long_they_hold(
    program: Program, daemon: PlayDaemon
) -> None:
    rows = [
        examples.rule("a"),
        examples.rule("b", action="deny", left_s=600.0),
        examples.rule("c", enabled=False),
        examples.rule("d", kind="temporary", process=4_711),
        examples.rule("e", expired=True),
    ]
    model = _rules(program, daemon, rows).table.model_
    assert texts(model, 1) == ["Allow", "Deny", "Allow", "Allow", "Allow"]
    assert texts(model, 2)[0] == "exe: /usr/bin/curl, dport: 443"
    assert texts(model, 3) == [
        "for ever",
        "10 min more",
        "switched off",
        "while 4711 runs",
        "expired",
    ]


def test_more_rules_come_as_somebody_scrolls(program: Program, daemon: PlayDaemon) -> None:
    rows = [examples.rule(f"rule {number}") for number in range(120)]
    view = _rules(program, daemon, rows)
    assert len(view.table.model_.rows) == 50
    view.table.scrollToBottom()
    wait_for(lambda: len(view.table.model_.rows) == 100)
    view.table.scrollToBottom()
    wait_for(lambda: len(view.table.model_.rows) == 120)
    daemon.send(RulesChanged(2))
    asked = len(daemon.asked_for(RulesRequest))
    wait_for(lambda: len(daemon.asked_for(RulesRequest)) == asked + 3)
    assert len(view.table.model_.rows) == 120


def test_a_rule_is_edited(program: Program, daemon: PlayDaemon) -> None:
    view = _rules(program, daemon, [examples.rule("a")])
    assert not view.pane.save.isEnabled()
    edited = view.pane.editor.rule() + "proto: tcp\n"
    view.pane.editor.field.setPlainText(edited)
    click(view.pane.save)
    wait_for(lambda: daemon.asked_for(ChangeRuleRequest))
    assert daemon.asked_for(ChangeRuleRequest) == [ChangeRuleRequest("a", edited)]


def test_a_wrong_edit_shows_its_problems_and_stays(program: Program, daemon: PlayDaemon) -> None:
    problem = {"line": 2, "column": 9, "what": "action", "why": "no such", "instead": "allow"}
    daemon.answers[ChangeRuleRequest] = lambda _it: Checked((problem,))
    view = _rules(program, daemon, [examples.rule("a")])
    wrong = view.pane.editor.rule().replace("allow", "alow")
    view.pane.editor.field.setPlainText(wrong)
    click(view.pane.save)
    wait_for(lambda: view.pane.editor.problems)
    assert view.pane.editor.problems_text() == "line 2: action; no such; allow"
    assert view.pane.editor.rule() == wrong
    click(view.pane.revert)
    assert view.pane.editor.rule() == examples.rule("a")["rule"]


def test_rules_changing_elsewhere_do_not_take_an_edit_away(
    program: Program, daemon: PlayDaemon
) -> None:
    rows = [examples.rule("a"), examples.rule("b")]
    view = _rules(program, daemon, rows)
    view.pane.editor.field.setPlainText("name: mine\n")
    rows.append(examples.rule("c"))
    daemon.send(RulesChanged(2))
    wait_for(lambda: len(view.table.model_.rows) == 3)
    assert view.pane.editor.rule() == "name: mine\n"
    assert view.pane.name() == "a"


def test_a_rule_is_switched_off_and_on(program: Program, daemon: PlayDaemon) -> None:
    view = _rules(program, daemon, [examples.rule("a")])
    click(view.pane.switch)
    wait_for(lambda: daemon.asked_for(ChangeRuleRequest))
    off = "name: a\naction: allow\nenabled: false\nexe: /usr/bin/curl\ndport: 443\n"
    assert daemon.asked_for(ChangeRuleRequest)[-1].rule == off
    daemon.answers[RulesRequest] = paged(Rules, [examples.rule("a", enabled=False, rule=off)])
    daemon.send(RulesChanged(2))
    wait_for(lambda: view.pane.switch.text() == "Switch &on")
    click(view.pane.switch)
    wait_for(lambda: len(daemon.asked_for(ChangeRuleRequest)) == 2)
    assert daemon.asked_for(ChangeRuleRequest)[-1].rule == examples.rule("a")["rule"]


def test_rules_are_moved_by_buttons_and_by_dragging(program: Program, daemon: PlayDaemon) -> None:
    view = _rules(program, daemon, [examples.rule(name) for name in "abc"], select=1)
    click(view.pane.up)
    wait_for(lambda: len(daemon.asked_for(MoveRuleRequest)) == 1)
    click(view.pane.down)
    wait_for(lambda: len(daemon.asked_for(MoveRuleRequest)) == 2)
    model = view.table.model_
    dragged: QMimeData = model.mimeData([model.index(0, 0)])
    model.dropMimeData(dragged, Qt.DropAction.MoveAction, 3, 0, QModelIndex())
    wait_for(lambda: len(daemon.asked_for(MoveRuleRequest)) == 3)
    expected = [MoveRuleRequest("b", 0), MoveRuleRequest("b", 2), MoveRuleRequest("a", 2)]
    assert daemon.asked_for(MoveRuleRequest) == expected
    assert [row["name"] for row in model.rows] == ["a", "b", "c"]  # until the daemon says else


def test_a_deleted_rule_can_be_brought_back_to_its_place(
    program: Program, daemon: PlayDaemon
) -> None:
    view = _rules(program, daemon, [examples.rule(name) for name in "abc"], select=1)
    click(view.pane.delete)
    wait_for(view.undo_button.isVisible)
    assert daemon.asked_for(RevokeRequest) == [RevokeRequest("b")]
    click(view.undo_button)
    wait_for(lambda: daemon.asked_for(MoveRuleRequest))
    rule = str(examples.rule("b")["rule"])
    assert daemon.asked_for(AddRuleRequest) == [AddRuleRequest(rule, "forever")]
    assert daemon.asked_for(MoveRuleRequest) == [MoveRuleRequest("back again", 1)]


def test_a_rule_that_cannot_come_back_is_deleted_only_after_a_word(
    program: Program, daemon: PlayDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Qt.TextFormat] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: asked.append(box.textFormat()))
    view = _rules(program, daemon, [examples.rule("<b>a", kind="temporary", process=7)])
    click(view.pane.delete)
    settle()
    assert asked == [Qt.TextFormat.PlainText]
    assert daemon.asked_for(RevokeRequest) == []


def test_a_refused_change_is_told(program: Program, daemon: PlayDaemon) -> None:
    daemon.answers[RevokeRequest] = lambda _it: Refused("no-such-rule", "it is gone")
    view = _rules(program, daemon, [examples.rule("a")])
    click(view.pane.delete)
    wait_for(lambda: view.status.whole_text() == "it is gone")
    assert not view.undo_button.isVisible()


def test_rules_of_files_are_only_read(program: Program, daemon: PlayDaemon) -> None:
    row = examples.rule("a", kind="file", origin="/etc/nfsnitch/rules.yaml:12")
    view = _rules(program, daemon, [row])
    view.show_kind("file")
    wait_for(lambda: view.table.model_.rows == [row])
    view.table.selectRow(0)
    assert view.pane.editor.field.isReadOnly()
    buttons = (view.pane.delete, view.pane.switch, view.pane.up, view.pane.down)
    assert not any(button.isEnabled() for button in buttons)
    assert "/etc/nfsnitch/rules.yaml:12" in view.pane.title.text()


def test_who_may_only_watch_changes_no_rule(reader: Program, daemon: PlayDaemon) -> None:
    view = _rules(reader, daemon, [examples.rule("a"), examples.rule("b")])
    assert view.pane.editor.field.isReadOnly()
    assert not view.pane.delete.isEnabled()
    view.table.move_wanted.emit("a", 1)
    settle()
    assert daemon.asked_for(MoveRuleRequest) == []
