"""``nfsnitch check``."""

from pathlib import Path

import pytest

from nfsnitch import cli

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("rules.yaml")


def test_good_rules_are_counted(rules: Path, capsys: Capture) -> None:
    rules.write_text(
        "default: deny\nrules:\n- {name: a, action: allow}\n- {name: b, action: ask}\n"
    )
    assert cli.main(["check", "rules.yaml"]) == 0
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


def test_what_is_not_read_and_not_in_force_is_told_and_is_no_mistake(
    rules: Path, capsys: Capture
) -> None:
    folder = rules.with_name("rules.d")
    (folder / "more.yaml").mkdir(parents=True)
    for name in (".new.yaml", "old.yaml~", "\x1b.yml"):
        (folder / name).write_text("rules: []")
    (folder / "a.yaml").write_text(
        "rules:\n- {name: a, action: deny, expires: 2001-01-01T00:00Z}\n"
        "- {name: b, action: deny, enabled: false}\n"
        "- {name: c, action: deny, expires: 9000-01-01}\n"
    )
    assert cli.main(["check", "rules.d"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "rules.d: 3 rules, default ask\n"
    assert [line.split(": ")[:2] for line in captured.err.splitlines()] == [
        ["rules.d/\\x1b.yml", "not read"],
        ["rules.d/.new.yaml", "not read"],
        ["rules.d/more.yaml", "not read"],
        ["rules.d/old.yaml~", "not read"],
        ["rules.d/a.yaml:2", "rule 'a'"],
        ["rules.d/a.yaml:3", "rule 'b'"],
    ]
    assert "expired at 2001-01-01T00:00:00Z" in captured.err


def test_the_name_of_a_file_cannot_write_to_the_terminal(rules: Path, capsys: Capture) -> None:
    rules.with_name("\x1b[31m.yaml").write_text("rules: []")
    assert cli.main(["check", "\x1b[31m.yaml"]) == 0
    assert capsys.readouterr().out == "\\x1b[31m.yaml: 0 rules, default ask\n"
