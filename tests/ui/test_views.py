"""The main window: connections, rules, history, and what would have been asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PyQt6.QtCore import QMimeData, QModelIndex, Qt
from PyQt6.QtWidgets import QMessageBox

from nfsnitch.protocol import (
    AddRuleRequest,
    Answered,
    AnswerRequest,
    ChangeRuleRequest,
    Checked,
    Connections,
    ConnectionsRequest,
    History,
    HistoryRequest,
    MoveRuleRequest,
    Recorded,
    Refused,
    Reply,
    Request,
    RevokeRequest,
    Rules,
    RulesChanged,
    RulesRequest,
    Silenced,
    SilencedRequest,
)
from nfsnitch_ui.application import Program
from nfsnitch_ui.facts import Json
from nfsnitch_ui.views.history import MOST_KEPT, HistoryView
from nfsnitch_ui.views.rules import RulesView
from nfsnitch_ui.views.silenced import SilencedView
from nfsnitch_ui.views.table import RowsModel
from ui import examples
from ui.hands import click, past_guard
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

pytestmark = pytest.mark.ui


def _texts(model: RowsModel, column: int) -> list[str]:
    return [model.columns[column].text(row) for row in model.rows]


def _paged(kind: type[Reply], rows: list[Json]) -> Callable[[Request], Reply]:
    """Return an answer of 50 rows at most, as a daemon gives it."""

    def answer(request: Request) -> Reply:
        first = getattr(request, "first", 0)
        some = tuple(rows[first : first + 50])
        return Rules(1, len(rows), some) if kind is Rules else Silenced(len(rows), some)

    return answer


# Connections


def test_connections_are_listed_and_filtered(program: Program, daemon: PlayDaemon) -> None:
    rows = (
        {**examples.owner(), **examples.flow("192.0.2.1", 443), "iface": "eth0", "passes": True},
        {
            "owner": examples.owner("/usr/bin/ssh"),
            "flow": examples.flow("2001:db8::1", 22),
            "iface": "eth0",
            "passes": True,
        },
    )
    daemon.answers[ConnectionsRequest] = lambda _it: Connections(70, rows)
    program.open()
    view = program.main.connections
    wait_for(lambda: len(view.model.rows) == 2)
    assert _texts(view.model, 0) == ["curl", "ssh"]
    assert _texts(view.model, 2) == ["192.0.2.1", "2001:db8::1"]
    assert _texts(view.model, 3) == ["443 (https)", "22 (ssh)"]
    assert view.summary.text() == "70 connections; 2 are listed"
    view.bar.field.setText("2001:db8 SSH")
    wait_for(lambda: view.filter.rowCount() == 1)


def test_connections_are_asked_for_only_while_they_are_seen(
    program: Program, daemon: PlayDaemon
) -> None:
    settle()
    assert daemon.asked_for(ConnectionsRequest) == []
    program.open()
    wait_for(lambda: daemon.asked_for(ConnectionsRequest))
    program.main.tabs.setCurrentWidget(program.main.rules)
    assert not program.main.connections._timer.isActive()  # noqa: SLF001  else it would take 2 s


def test_a_selected_row_stays_selected_when_others_come_and_go(
    program: Program, daemon: PlayDaemon
) -> None:
    def row(port: int) -> Json:
        flow = {**examples.flow(), "sport": port}
        return {**examples.owner(), **flow, "iface": "eth0", "passes": True}

    shown = [row(1), row(2), row(3)]
    daemon.answers[ConnectionsRequest] = lambda _it: Connections(len(shown), tuple(shown))
    program.open()
    view = program.main.connections
    wait_for(lambda: len(view.model.rows) == 3)
    view.table.selectRow(1)
    shown.remove(shown[0])
    shown.append(row(4))
    view.refresh()
    wait_for(lambda: [each["sport"] for each in view.model.rows] == [2, 3, 4])
    assert [view.filter.row(view.filter.index(at, 0)) for at in view.table.selected_places()] == [
        row(2)
    ]


# Rules


def _rules(program: Program, daemon: PlayDaemon, rows: list[Json], select: int = 0) -> RulesView:
    daemon.answers[RulesRequest] = _paged(Rules, rows)
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
    assert _texts(model, 1) == ["Allow", "Deny", "Allow", "Allow", "Allow"]
    assert _texts(model, 2)[0] == "exe: /usr/bin/curl, dport: 443"
    assert _texts(model, 3) == [
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
    daemon.answers[RulesRequest] = _paged(Rules, [examples.rule("a", enabled=False, rule=off)])
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


# History


def _history(program: Program, daemon: PlayDaemon, count: int) -> HistoryView:
    rows = [examples.record(number) for number in range(1, count + 1)]

    def answer(request: Request) -> Reply:
        before = getattr(request, "before", None)
        end = count if before is None else before - 1
        first = max(1, end - 49)
        return History(first, tuple(rows[first - 1 : end]))

    daemon.answers[HistoryRequest] = answer
    program.open()
    view = program.main.history
    program.main.tabs.setCurrentWidget(view)
    wait_for(lambda: len(view.model.rows) >= min(count, 50))
    return view


def test_history_shows_the_latest_first_and_older_ones_as_somebody_scrolls(
    program: Program, daemon: PlayDaemon
) -> None:
    view = _history(program, daemon, 120)
    assert view.model.rows[0] == examples.record(120)
    for expected in (100, 120):
        view.table.scrollToBottom()
        wait_for(lambda expected=expected: len(view.model.rows) == expected)  # type: ignore[misc]  # mypy does not see its type
    assert view.model.rows[-1] == examples.record(1)


def test_new_decisions_come_by_themselves_and_none_twice(
    program: Program, daemon: PlayDaemon
) -> None:
    daemon.send(Recorded(examples.record(3)))  # also among the last ones
    view = _history(program, daemon, 3)
    daemon.send(Recorded(examples.record(4, "drop")))
    wait_for(lambda: len(view.model.rows) == 4)
    assert view.model.rows[0] == examples.record(4, "drop")


def test_history_is_bounded(program: Program, daemon: PlayDaemon) -> None:
    view = _history(program, daemon, 10)
    daemon.send(*(Recorded(examples.record(1_000 + number)) for number in range(MOST_KEPT)))
    newest = examples.record(1_000 + MOST_KEPT - 1)
    wait_for(lambda: view.model.rows[0] == newest, timeout_s=60)
    assert len(view.model.rows) == MOST_KEPT


def test_history_is_filtered_by_words_and_verdict(program: Program, daemon: PlayDaemon) -> None:
    view = _history(program, daemon, 3)
    daemon.send(Recorded(examples.record(8, "reject", rule="no telnet")))
    wait_for(lambda: len(view.model.rows) == 4)
    view.bar.choice.setCurrentIndex(view.bar.choice.findData("reject"))
    wait_for(lambda: view.filter.rowCount() == 1)
    view.bar.field.setText("nothing like it")
    wait_for(lambda: view.filter.rowCount() == 0)
    view.bar.field.setText("telnet curl")
    wait_for(lambda: view.filter.rowCount() == 1)


def test_all_that_was_known_of_a_decision_can_be_read(program: Program, daemon: PlayDaemon) -> None:
    view = _history(program, daemon, 1)
    view.table.selectRow(0)
    text = view.details.toPlainText()
    assert "exe: /usr/bin/curl" in text
    assert "daddr: 192.0.2.1" in text
    assert "held_ms: 0.4" in text


# What would have been asked


def _silenced(program: Program, daemon: PlayDaemon, count: int) -> SilencedView:
    rows = [examples.silenced(number) for number in range(1, count + 1)]
    daemon.answers[SilencedRequest] = _paged(Silenced, rows)
    program.open()
    view = program.main.silenced
    program.main.tabs.setCurrentWidget(view)
    wait_for(lambda: len(view.model.rows) == min(count, 50))
    return view


def test_what_would_have_been_asked_becomes_rules(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    daemon.answers[AnswerRequest] = lambda _it: Answered((1, 3), ("x", "y"), None)
    view = _silenced(program, daemon, 3)
    view.table.selectRow(0)
    assert view.panel.who.text() == "curl"
    view.table.selectAll()
    assert view.panel.who.text() == "3 questions"
    settle()
    past_guard(clock)
    view.controls.scope.duration.choose("forever")
    click(view.controls.buttons["deny"])
    wait_for(lambda: view.status.whole_text() == "2 rules were made.")
    expected = AnswerRequest((1, 2, 3), "deny", "program", "address-port", "forever", None)
    assert daemon.asked_for(AnswerRequest) == [expected]


def test_what_would_have_been_asked_can_be_forgotten(
    program: Program, daemon: PlayDaemon, clock: Clock
) -> None:
    view = _silenced(program, daemon, 2)
    view.table.selectRow(1)
    settle()
    past_guard(clock)
    click(view.controls.buttons["dismiss"])
    wait_for(lambda: daemon.asked_for(AnswerRequest))
    answer = daemon.asked_for(AnswerRequest)[0]
    assert (answer.questions, answer.action) == ((2,), "dismiss")


def test_a_row_that_makes_no_sense_is_no_question(program: Program, daemon: PlayDaemon) -> None:
    broken = {**examples.silenced(1), "flows": "many"}
    daemon.answers[SilencedRequest] = lambda _it: Silenced(1, (broken,))
    program.open()
    view = program.main.silenced
    program.main.tabs.setCurrentWidget(view)
    wait_for(lambda: len(view.model.rows) == 1)
    view.table.selectRow(0)
    assert not view.chosen.isVisible()
