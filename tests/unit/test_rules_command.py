"""``nfsnitch rules``: what answers have made, and what would have been asked."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch import cli
from nfsnitch.lab.process import same_modules
from nfsnitch.protocol import (
    AddRuleRequest,
    AnswerRequest,
    ChangeRuleRequest,
    MoveRuleRequest,
    Refused,
    RevokeRequest,
    RuleSet,
    Why,
)
from scripted_daemon import Row, ScriptedDaemon, question, rule_row
from terminal_play import at_terminal

EVIL = "\x1b[2Jrule\u202e"
PROBLEM: Row = {"line": 2, "column": 1, "what": "'acton'", "why": "unknown", "instead": "mend it"}


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    daemon.rules = [
        rule_row("curl to 192.0.2.1"),
        rule_row("dig", kind="temporary", action="deny", left_s=125.0),
        rule_row("vim", kind="temporary", process=4711, left_s=None),
        rule_row("old", enabled=False, expired=True, note="asked for", until="2020-01-01T00:00Z"),
        rule_row("web", kind="file", origin="/etc/nfsnitch/rules.yaml:12", rule=None),
    ]
    yield daemon
    daemon.hang_up()


def rules(daemon: ScriptedDaemon, *argv: str) -> int:
    return cli.main(["rules", *argv, "--socket", str(daemon.path)])


@pytest.fixture(name="edits")
def fixture_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of which the editor takes what it writes; it waits in another folder."""
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    text = tmp_path / "text"
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\ncat "{text}" >"$2"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", f"{script} --wait")
    monkeypatch.setattr("tempfile.tempdir", str(drafts))
    return text


def drafts(edits: Path) -> list[str]:
    return [each.read_text() for each in (edits.parent / "drafts").iterdir()]


def test_rules_are_listed_by_where_they_come_from(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules(daemon, "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "answers that the daemon forgets:",
        "   NAME  ACTION  HOW LONG",
        "1  dig   deny    2 min 5 s left",
        "2  vim   allow   while process 4711 lives",
        "",
        "lasting answers:",
        "   NAME               ACTION  HOW LONG",
        "1  curl to 192.0.2.1  allow   for ever",
        "2  old                allow   until 2020-01-01 00:00  disabled, expired, asked for",
        "",
        "rule files:",
        "NAME  ACTION  WHERE",
        "web   allow   /etc/nfsnitch/rules.yaml:12",
    ]


def test_rules_are_listed_however_many_and_as_json(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.rules = [rule_row(f"rule {number}") for number in range(120)]
    assert rules(daemon, "list", "--kind", "lasting", "--json") == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert listed == daemon.rules


def test_hostile_names_are_shown_escaped_and_a_table_fits_the_terminal(
    daemon: ScriptedDaemon,
) -> None:
    daemon.rules = [rule_row(EVIL), rule_row("long " * 100, note="n" * 500)]
    argv = ["-m", "nfsnitch.cli", "rules", "list", "--kind", "lasting"]
    with at_terminal([*argv, "--socket", str(daemon.path)], same_modules(), (60, 20)) as terminal:
        assert terminal.end() == 0

    heading, _, *rows = terminal.text.split("\n")
    assert heading == "lasting answers:"
    assert r"1  \x1b[2Jrule\u202e" in rows[0]
    assert "long long" in rows[1]
    assert "for ever" in rows[1]
    assert rows[2] == ""  # none was longer than a line
    assert b"\x1b" not in terminal.raw


def test_a_rule_is_revoked_by_its_name_as_it_is_or_as_it_was_shown(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.rules.append(rule_row(EVIL))
    assert rules(daemon, "revoke", "dig", r"\x1b[2Jrule\u202e") == 0
    assert [daemon.next(RevokeRequest).name for _ in range(2)] == ["dig", EVIL]
    assert capsys.readouterr().out == "revoked 'dig'\nrevoked '\\x1b[2Jrule\\u202e'\n"


def test_a_rule_that_is_not_there_does_not_keep_the_others_from_being_revoked(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules(daemon, "revoke", "nothing", "dig") == 1
    told = capsys.readouterr()

    assert told.out == "revoked 'dig'\n"
    assert told.err == "nfsnitch: no answer has made 'nothing'\n"


def test_places_are_counted_from_one(daemon: ScriptedDaemon) -> None:
    assert rules(daemon, "move", "old", "1") == 0
    assert daemon.next(MoveRuleRequest) == MoveRuleRequest("old", 0)
    assert rules(daemon, "move", "old", "0") == cli.USAGE_ERROR


def test_a_rule_is_added_out_of_a_file(
    daemon: ScriptedDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text("name: mine\naction: allow\n", encoding="utf-8")
    assert rules(daemon, "add", str(file), "--duration", "15m") == 0
    assert daemon.next(AddRuleRequest) == AddRuleRequest("name: mine\naction: allow\n", "15m")
    assert capsys.readouterr().out == "added 'mine'\n"
    daemon.problems = [PROBLEM]
    assert rules(daemon, "add", str(file), "--duration", "forever") == 1
    assert capsys.readouterr().err == f"nfsnitch: {file}:2:1: 'acton': unknown; mend it\n"
    assert rules(daemon, "add", str(tmp_path / "none"), "--duration", "forever") == 1
    assert "No such file" in capsys.readouterr().err
    assert rules(daemon, "add", str(file), "--duration", "sometimes") == cli.USAGE_ERROR


def test_a_rule_is_added_out_of_standard_input(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"name: piped\n")))
    assert rules(daemon, "add", "-", "--duration", "until 2130-01-01T00:00Z") == 0
    assert daemon.next(AddRuleRequest).rule == "name: piped\n"


def test_a_rule_that_cannot_be_kept_is_said_to_be_in_force_all_the_same(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.instead[MoveRuleRequest] = lambda asked: [RuleSet(asked.name, "disk full")]
    assert rules(daemon, "move", "old", "1") == 1
    assert "in force only until the daemon ends: disk full" in capsys.readouterr().err


def test_a_rule_is_edited_in_the_editor(
    daemon: ScriptedDaemon, edits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits.write_text("name: mine\naction: deny\n", encoding="utf-8")
    assert rules(daemon, "edit", "dig") == 0
    assert daemon.next(ChangeRuleRequest) == ChangeRuleRequest("dig", "name: mine\naction: deny\n")
    assert capsys.readouterr().out == "'mine' is in force as you wrote it\n"
    assert drafts(edits) == []


def test_an_edit_that_changes_nothing_asks_for_nothing(
    daemon: ScriptedDaemon, edits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits.write_text(rule_row("dig")["rule"], encoding="utf-8")
    assert rules(daemon, "edit", "dig") == 0
    assert capsys.readouterr().out == "nothing has changed\n"
    assert not daemon.has_heard(ChangeRuleRequest)
    assert drafts(edits) == []


@pytest.mark.parametrize("is_refused", [True, False])
def test_what_was_written_is_kept_where_the_daemon_does_not_take_it(
    daemon: ScriptedDaemon,
    edits: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    is_refused: bool,
) -> None:
    edits.write_text("name: mine\n", encoding="utf-8")
    daemon.problems = [PROBLEM]
    if is_refused:
        daemon.instead[ChangeRuleRequest] = lambda _: [Refused(Why.NO_SUCH_RULE, "it is gone")]
    assert rules(daemon, "edit", "dig") == 1
    told = capsys.readouterr().err

    assert ("it is gone" if is_refused else "2:1: 'acton': unknown; mend it") in told
    assert "not changed; your text is in" in told
    assert drafts(edits) == ["name: mine\n"]


def test_without_an_editor_that_works_nothing_is_changed(
    daemon: ScriptedDaemon, edits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits.touch()
    for editor in ("false", "/no/such/editor", "'"):
        monkeypatch.setenv("VISUAL", editor)
        assert rules(daemon, "edit", "dig") == 1
    assert not daemon.has_heard(ChangeRuleRequest)


def test_rules_of_files_are_edited_in_their_files(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules(daemon, "edit", "web") == 1
    assert "'web' stands in /etc/nfsnitch/rules.yaml:12: edit it there" in capsys.readouterr().err
    assert rules(daemon, "edit", "nothing") == 1
    assert "there is no rule 'nothing'" in capsys.readouterr().err


def test_a_person_is_asked_whether_to_edit_again(daemon: ScriptedDaemon, edits: Path) -> None:
    edits.write_text("name: wrong\n", encoding="utf-8")
    daemon.problems = [PROBLEM]
    environment = {**same_modules(), "VISUAL": os.environ["VISUAL"], "TMPDIR": str(edits.parent)}
    argv = ["-m", "nfsnitch.cli", "rules", "edit", "dig", "--socket", str(daemon.path)]
    with at_terminal(argv, environment) as terminal:
        terminal.wait("2:1: 'acton': unknown; mend it", "edit again? [Y/n]")
        edits.write_text("name: right\n", encoding="utf-8")
        daemon.problems = []
        terminal.press("y\n")

        terminal.wait("'right' is in force as you wrote it")
        assert terminal.end() == 0


def test_what_would_have_been_asked_is_listed(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules(daemon, "silenced") == 0
    assert capsys.readouterr().out == "nothing would have been asked\n"
    evil = {"exe": f"/opt/{EVIL}", "user": EVIL}
    daemon.silenced = [
        question(1, times=12, silently="allow", since="?"),
        question(2, times=1, silently="deny", since="?", owner=evil),
    ]
    assert rules(daemon, "silenced") == 0
    name = r"\x1b[2Jrule\u202e"
    assert capsys.readouterr().out.splitlines() == [
        "   LAST  WHO                USER               WHERE TO           HOW OFTEN",
        "1  ?     curl               alice              192.0.2.1:443 tcp  12 times, allowed last",
        f"2  ?     {name}  {name}  192.0.2.2:443 tcp  1 time, denied last",
    ]
    assert rules(daemon, "silenced", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["owner"]["user"] == EVIL


def test_what_would_have_been_asked_becomes_rules(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.silenced = [question(1), question(2)]
    argv = ["from-silenced", "1", "2", "2", "--action", "allow", "--who", "user"]
    assert rules(daemon, *argv, "--where", "anywhere", "--duration", "8h") == 0
    answer = daemon.next(AnswerRequest)
    assert answer == AnswerRequest((1, 2), "allow", "user", "anywhere", "8h", None)
    assert capsys.readouterr().out == "made 'curl to 192.0.2.1': allow, for 8h\n"
    assert rules(daemon, "from-silenced", "1", "7", "--action", "dismiss") == 1
    told = capsys.readouterr()
    assert told.out == "forgot 1 entry\n"
    assert told.err == "nfsnitch: not in the list (any more): 7; see nfsnitch rules silenced\n"


@pytest.mark.parametrize(
    "argv", [["revoke", "dig"], ["move", "old", "1"], ["from-silenced", "1", "--action", "deny"]]
)
def test_who_may_only_look_is_told_so(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    daemon.rights = ("watch",)
    assert rules(daemon, *argv) == 4
    assert capsys.readouterr().err == "nfsnitch: only members of nfsnitch may\n"
    daemon.hang_up()
    assert rules(daemon, *argv) == 3
