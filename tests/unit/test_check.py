"""``nfsnitch check``: its output and its exit status."""

import json
from pathlib import Path

import pytest

from nfsnitch import cli
from nfsnitch.adapters.rulefile import lint

Capture = pytest.CaptureFixture[str]
GOOD = "default: deny\nrules:\n- {name: a, action: deny, dport: 80}\n- {name: b, action: ask}\n"
WIDE = "rules: [{name: a, action: allow}]"


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the name of a file in a directory of which, for these tests, nothing is to be said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lint, "rule_file_warnings", lambda _: ())
    return Path("rules.yaml")


def test_good_rules_are_counted(rules: Path, capsys: Capture) -> None:
    rules.write_text(GOOD)
    assert cli.main(["check", "--strict", "rules.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "rules.yaml: 2 rules, default deny\n"
    assert captured.err == ""


def test_several_files_are_checked_together(rules: Path, capsys: Capture) -> None:
    rules.write_text("rules: [{name: a, action: allow, daddr: lan}]")
    Path("groups.yaml").write_text("groups: {lan: 10.0.0.0/8}")
    assert cli.main(["check", "rules.yaml", "groups.yaml"]) == 0
    assert capsys.readouterr().out == "rules.yaml, groups.yaml: 1 rule, default ask\n"


def test_every_problem_is_one_line_on_stderr(rules: Path, capsys: Capture) -> None:
    rules.write_text("default: maybe\nrules: [{name: a}]")
    assert cli.main(["check", "rules.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(" ")[0] for line in captured.err.splitlines()] == [
        "rules.yaml:1:10:",
        "rules.yaml:2:9:",
    ]


def test_what_is_not_read_and_has_run_out_is_told_but_not_what_was_put_aside(
    rules: Path, capsys: Capture
) -> None:
    folder = rules.with_name("rules.d")
    (folder / "more.yaml").mkdir(parents=True)
    for name in (".new.yaml", "old.yaml~", "\x1b.yml"):
        (folder / name).write_text("rules: []")
    (folder / "a.yaml").write_text(
        "rules:\n- {name: a, action: deny, expires: 2001-01-01T00:00Z}\n"
        "- {name: b, action: allow, enabled: false}\n"
        "- {name: c, action: deny, expires: 9000-01-01}\n"
    )
    assert cli.main(["check", "rules.d"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "rules.d: 3 rules, default ask, 5 warnings\n"
    assert [line.split(": ")[:2] for line in captured.err.splitlines()] == [
        ["rules.d/.new.yaml:1:1", "warning"],
        ["rules.d/\\x1b.yml:1:1", "warning"],
        ["rules.d/more.yaml:1:1", "warning"],
        ["rules.d/old.yaml~:1:1", "warning"],
        ["rules.d/a.yaml:2:3", "warning"],
    ]
    assert "expired at 2001-01-01T00:00:00Z" in captured.err


def test_a_warning_is_a_line_on_stderr_and_no_failure(rules: Path, capsys: Capture) -> None:
    rules.write_text(WIDE)
    assert cli.main(["check", "rules.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "rules.yaml: 1 rule, default ask, 1 warning\n"
    assert captured.err == (
        "rules.yaml:1:9: warning: rule 'a': it names neither whose connections it allows nor where "
        "to; add exe: or daddr:\n"
    )


def test_strict_makes_a_warning_a_failure(rules: Path, capsys: Capture) -> None:
    rules.write_text(WIDE)
    assert cli.main(["check", "--strict", "rules.yaml"]) == 1
    assert "1 warning" in capsys.readouterr().out


def test_json_tells_warnings_with_their_places(rules: Path, capsys: Capture) -> None:
    rules.write_text(WIDE)
    assert cli.main(["check", "--json", "rules.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    document = json.loads(captured.out)
    (found,) = document.pop("found")
    assert document == {"usable": True, "files": ["rules.yaml"], "rules": 1, "default": "ask"}
    place = {"file": "rules.yaml", "line": 1, "column": 9}
    assert found == {"severity": "warning", "code": "too-wide", **place} | {
        key: found[key] for key in ("what", "why", "instead")
    }


def test_json_tells_problems_too(rules: Path, capsys: Capture) -> None:
    rules.write_text("default: maybe")
    assert cli.main(["check", "--json", "--strict", "rules.yaml"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["usable"] is False
    assert document["rules"] is None
    assert [each["severity"] for each in document["found"]] == ["error"]
    assert document["found"][0]["instead"] == "write allow, deny, reject or ask"


def test_the_name_of_a_file_cannot_write_to_the_terminal(rules: Path, capsys: Capture) -> None:
    rules.with_name("\x1b[31m.yaml").write_text("rules: []")
    assert cli.main(["check", "\x1b[31m.yaml"]) == 0
    assert capsys.readouterr().out == "\\x1b[31m.yaml: 0 rules, default ask\n"
