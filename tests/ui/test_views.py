"""The main window: connections, history, and what would have been asked."""

from __future__ import annotations

import pytest

from nfsnitch.protocol import (
    Answered,
    AnswerRequest,
    Connections,
    ConnectionsRequest,
    History,
    HistoryRequest,
    Recorded,
    Reply,
    Request,
    Silenced,
    SilencedRequest,
)
from nfsnitch_ui.application import Program
from nfsnitch_ui.facts import Json
from nfsnitch_ui.views.history import MOST_KEPT, HistoryView
from nfsnitch_ui.views.silenced import SilencedView
from ui import examples
from ui.hands import click, past_guard
from ui.pages import paged, texts
from ui.play_daemon import PlayDaemon
from ui.waiting import Clock, settle, wait_for

pytestmark = pytest.mark.ui


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
    assert texts(view.model, 0) == ["curl", "ssh"]
    assert texts(view.model, 2) == ["192.0.2.1", "2001:db8::1"]
    assert texts(view.model, 3) == ["443 (https)", "22 (ssh)"]
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
    daemon.answers[SilencedRequest] = paged(Silenced, rows)
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
