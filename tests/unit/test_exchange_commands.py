"""``nfsnitch import`` and ``nfsnitch export`` as they are called."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from nfsnitch import cli
from nfsnitch.adapters.rulefile.schema import rule_file_schema

DOCUMENT = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
GOOD = {
    "name": "curl",
    "enabled": True,
    "action": "allow",
    "duration": "always",
    "operator": {
        "type": "simple",
        "operand": "process.path",
        "data": "/usr/bin/cat",
        "sensitive": True,
    },
}
BAD = {**GOOD, "name": "bad\x1b[2J", "operator": {"type": "quota", "operand": "quota"}}
RULES = "rules:\n  - {name: r, action: deny, exe: /usr/bin/env, daddr: 192.0.2.1}\n"

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(GOOD))
    (folder / "notes.txt").write_text("no rule")
    (tmp_path / "ours.yaml").write_text(RULES)
    return tmp_path


def blocks(kind: str, heading: str) -> list[str]:
    """Return the fenced blocks of a kind below a heading of the document."""
    section = DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{kind}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("heading", "file", "command"),
    [
        ("From OpenSnitch", "opensnitch.json", ["opensnitch"]),
        ("From Little Snitch", "work.lsrules", ["lsrules"]),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_the_document_shows_is_what_comes_out(
    heading: str, file: str, command: list[str], capsys: Captured
) -> None:
    Path(file).write_text(blocks("json", heading)[0])
    assert cli.main(["import", *command, file]) == 1
    captured = capsys.readouterr()
    assert captured.out == blocks("yaml", heading)[0]
    assert captured.err == blocks("text", heading)[0]


def test_a_hosts_file_becomes_a_list_as_the_document_shows(place: Path, capsys: Captured) -> None:
    (place / "hosts.blocked").write_text(blocks("text", "From a hosts file")[0])
    assert cli.main(["import", "hosts", "hosts.blocked"]) == 0
    shown = blocks("yaml", "From a hosts file")[0].replace("/etc/", f"{place}/")
    assert capsys.readouterr().out == shown


def test_what_a_hosts_file_says_beyond_names_is_told(place: Path, capsys: Captured) -> None:
    (place / "h").write_text(
        "::1 localhost\n192.0.2.1 printer.example\nno-address a b\n0.0.0.0\n\n# c\n"
    )
    assert cli.main(["import", "hosts", "h", "--action", "deny"]) == 0
    captured = capsys.readouterr()
    assert "action: deny" in captured.out
    assert "2 lines cannot be read and count for nothing; line 3: " in captured.err
    assert "1 name with a real address" in captured.err
    (place / "h").write_text("127.0.0.1 localhost\n")
    assert cli.main(["import", "hosts", "h"]) == 1


def test_an_imported_file_is_private_and_passes_the_check(place: Path, capsys: Captured) -> None:
    assert cli.main(["import", "opensnitch", "rules", "-o", "out.yaml"]) == 0
    assert stat.S_IMODE((place / "out.yaml").stat().st_mode) == 0o600
    assert capsys.readouterr() == ("", "1 rule imported\n")
    assert cli.main(["check", "--strict", "out.yaml"]) == 0
    assert sorted(each.name for each in place.iterdir()) == ["ours.yaml", "out.yaml", "rules"]


def test_what_is_there_is_kept_unless_told_otherwise(place: Path, capsys: Captured) -> None:
    (place / "out").write_text("mine")
    for command in (["import", "opensnitch", "rules"], ["export", "json", "ours.yaml"]):
        assert cli.main([*command, "-o", "out"]) == 2
        assert "is there already; --force" in capsys.readouterr().err
        assert (place / "out").read_text() == "mine"
        assert cli.main([*command, "-o", "out", "--force"]) == 0
        assert (place / "out").read_text() != "mine"
        (place / "out").write_text("mine")


def test_a_link_is_replaced_and_what_it_leads_to_is_kept(place: Path) -> None:
    (place / "out").symlink_to("ours.yaml")
    assert cli.main(["import", "opensnitch", "rules", "-o", "out", "--force"]) == 0
    assert (place / "ours.yaml").read_text() == RULES
    assert not (place / "out").is_symlink()


def test_strict_writes_nothing_if_anything_cannot_be_said(place: Path, capsys: Captured) -> None:
    (place / "rules" / "b.json").write_text(json.dumps(BAD))
    assert cli.main(["import", "opensnitch", "rules", "-o", "out", "--strict"]) == 1
    assert not (place / "out").exists()
    told = capsys.readouterr().err
    assert r"rules/b.json: rule 'bad\x1b[2J': left out: nothing here corresponds" in told
    assert "\x1b" not in told
    assert "nothing is written (--strict)" in told
    assert cli.main(["import", "opensnitch", "rules", "-o", "out"]) == 1
    assert (place / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["import", "opensnitch", "none"],
        ["import", "opensnitch", "rules", "--config", "none"],
        ["import", "lsrules", "ours.yaml"],
        ["import", "lsrules", "rules"],
        ["import", "hosts", "none"],
        ["import", "json", "none"],
        ["import", "opensnitch", "rules", "-o", "none/out"],
        ["export", "json", "none"],
        ["export", "lsrules", "ours.yaml", "-o", "none/out"],
    ],
)
@pytest.mark.usefixtures("place")
def test_what_cannot_be_read_or_written_is_said_in_a_line(
    command: list[str], capsys: Captured
) -> None:
    assert cli.main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_one_file_that_cannot_be_read_does_not_keep_the_others_back(
    place: Path, capsys: Captured
) -> None:
    (place / "rules" / "b.json").write_bytes(b"\xff\xfe")
    os.mkfifo(place / "rules" / "c.json")
    assert cli.main(["import", "opensnitch", "rules"]) == 1
    captured = capsys.readouterr()
    assert "name: curl" in captured.out
    assert "it is not UTF-8" in captured.err
    assert "no regular file" in captured.err


def test_lists_in_a_folder_are_found(place: Path, capsys: Captured) -> None:
    lists = place / "lists"
    lists.mkdir()
    for name in ("ads.txt", "b.txt", "noending", ".hidden.txt"):
        (lists / name).write_text("0.0.0.0 a.example\n")
    operator = {"type": "lists", "operand": "lists.domains", "data": str(lists)}
    made = {**GOOD, "action": "deny", "operator": operator}
    (place / "rules" / "a.json").write_text(json.dumps(made))
    assert cli.main(["import", "opensnitch", "rules", "-o", "out.yaml"]) == 0
    assert "list: [ads, b]" in (place / "out.yaml").read_text()
    capsys.readouterr()
    assert cli.main(["check", "out.yaml"]) == 0


def test_rules_go_to_json_and_back(place: Path, capsys: Captured) -> None:
    assert cli.main(["export", "json", "ours.yaml", "-o", "out.json"]) == 0
    document = json.loads((place / "out.json").read_text())
    Draft202012Validator(rule_file_schema()).validate(document)
    assert cli.main(["check", "out.json"]) == 0
    capsys.readouterr()
    assert cli.main(["import", "json", "out.json"]) == 0
    assert capsys.readouterr().out == (
        "# Imported from out.json\n"
        "rules:\n"
        "  - name: r\n"
        "    action: deny\n"
        "    daddr: 192.0.2.1\n"
        "    exe: /usr/bin/env\n"
    )


def test_opensnitch_gets_a_folder_with_a_file_for_each_rule(place: Path, capsys: Captured) -> None:
    assert cli.main(["export", "opensnitch", "ours.yaml", "-o", "theirs"]) == 0
    assert [each.name for each in (place / "theirs").iterdir()] == ["00000-r.json"]
    assert stat.S_IMODE((place / "theirs").stat().st_mode) == 0o700
    capsys.readouterr()
    assert cli.main(["export", "opensnitch", "ours.yaml"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)
    assert rule == json.loads((place / "theirs" / "00000-r.json").read_text())
    assert cli.main(["import", "opensnitch", "theirs"]) == 0


def test_little_snitch_gets_a_group(capsys: Captured, place: Path) -> None:
    assert cli.main(["export", "lsrules", str(place / "ours.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["rules"] == [
        {
            "action": "deny",
            "process": "/usr/bin/env",
            "remote-addresses": "192.0.2.1",
            "notes": "r",
        }
    ]
