"""``nfsnitch explain``, and what rules.example.yaml says to it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nfsnitch import cli

Capture = pytest.CaptureFixture[str]

EXAMPLE = Path(__file__).parents[2] / "rules.example.yaml"
RULES = """\
unattributed: reject
rules:
- {name: kernel, action: allow, owner: kernel}
- {name: "web\\u202e", action: allow, exe: /usr/bin/curl, dport: 443}
- {name: not from a shell, action: deny, uid: 0, parent: {not: /bin/sh}}
- {name: no mail, action: deny, proto: tcp, dport: 25}
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("rules.yaml")
    path.write_text(RULES)
    return path


def asked(rules: Path, line: str, capsys: Capture) -> Any:  # noqa: ANN401  JSON
    assert cli.main(["explain", "--rules", str(rules), *line.split(), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_rule_before_the_deciding_one_is_told_with_its_mismatch(
    rules: Path, capsys: Capture
) -> None:
    line = "explain --exe /usr/bin/nc --proto tcp --daddr 192.0.2.1 --dport 25 --uid 5 --rules"
    assert cli.main([*line.split(), str(rules)]) == 0
    assert capsys.readouterr().out == (
        "exe     /usr/bin/nc\n"
        "args    unknown (not given on the command line)\n"
        "uid     5\n"
        "parent  unknown (not given on the command line)\n"
        "proto   tcp\n"
        "family  ipv4\n"
        "daddr   192.0.2.1\n"
        "dport   25\n"
        "\n"
        "kernel            no match: owner  rules.yaml:3\n"
        "web\\u202e         no match: dport  rules.yaml:4\n"
        "not from a shell  no match: uid    rules.yaml:5\n"
        "no mail           matches          rules.yaml:6\n"
        "\n"
        "deny: rule no mail (rules.yaml:6)\n"
    )


def test_json_says_the_same(rules: Path, capsys: Capture) -> None:
    answer = asked(rules, "--exe /usr/bin/curl --args curl --daddr ::1 --dport 443", capsys)
    unknown = {"unknown": "not given on the command line"}
    assert answer == {
        "asked": {
            "exe": "/usr/bin/curl",
            "args": "curl",
            "uid": unknown,
            "parent": [unknown],
            "proto": unknown,
            "family": "ipv6",
            "daddr": "::1",
            "dport": 443,
        },
        "rules": [
            {"rule": "kernel", "origin": "rules.yaml:3", "matches": False, "mismatch": "owner"},
            {"rule": "web\u202e", "origin": "rules.yaml:4", "matches": True, "mismatch": None},
        ],
        "action": "allow",
        "reason": "rule",
        "rule": "web\u202e",
    }


@pytest.mark.parametrize(
    ("line", "action", "reason"),
    [
        ("--exe /x", "ask", "default"),
        ("", "reject", "unattributed"),
        ("--owner unknown --dport 25", "reject", "unattributed"),
        ("--owner unknown --dport 25 --proto tcp", "deny", "rule"),
        ("--owner kernel", "allow", "rule"),
        ("--user root --parent /bin/bash", "deny", "rule"),
        ("--uid 0 --parent /bin/bash --parent /bin/sh", "ask", "default"),
        ("--uid 0", "ask", "default"),
        ("--exe /usr/bin/curl --proto icmp", "ask", "default"),
    ],
)
def test_what_is_not_given_is_not_known(
    rules: Path, line: str, action: str, reason: str, capsys: Capture
) -> None:
    answer = asked(rules, line, capsys)
    assert (answer["action"], answer["reason"]) == (action, reason)


def test_every_field_can_be_asked_about(rules: Path, capsys: Capture) -> None:
    rules.write_text("rules: []")
    line = (
        "--exe /usr/bin/python3 --args python3·x.py --cwd /opt --uid 1 --gid 0 --comm x --pid 7"
        " --cgroup /user.slice/user-5.slice/user@5.service/snap.x.y.scope --netns 42"
        " --proto udp --daddr ::1 --saddr ::2 --dport 53 --sport 54 --iface eth0"
        " --at 2030-06-24T12:00Z"
    )
    words = [word.replace("·", " ") for word in line.split()]
    assert cli.main(["explain", "--rules", "rules.yaml", *words, "--json"]) == 0
    asked_about = json.loads(capsys.readouterr().out)["asked"]
    moment = asked_about.pop("at")
    assert datetime.strptime(moment, "%a %Y-%m-%d %H:%M:%S %z") == datetime(
        2030, 6, 24, 12, tzinfo=UTC
    )
    assert asked_about == {
        "exe": "/usr/bin/python3",
        "args": "python3 x.py",
        "script": "/opt/x.py",
        "uid": 1,
        "gid": 0,
        "pid": 7,
        "comm": "x",
        "cgroup": "/user.slice/user-5.slice/user@5.service/snap.x.y.scope",
        "unit": ["user@5.service", "user@5.service/snap.x.y.scope"],
        "app": "snap:x",
        "netns": 42,
        "parent": [{"unknown": "not given on the command line"}],
        "iface": "eth0",
        "proto": "udp",
        "family": "ipv6",
        "saddr": "::2",
        "sport": 54,
        "daddr": "::1",
        "dport": 53,
    }


def test_what_a_rule_asks_about_and_was_not_given_is_told_as_unknown(
    rules: Path, capsys: Capture
) -> None:
    rules.write_text("rules: [{name: a, action: deny, unit: a.service, group: root}]")
    answer = asked(rules, "--exe /x", capsys)
    unknown = {"unknown": "not given on the command line"}
    assert answer["asked"]["unit"] == answer["asked"]["gid"] == unknown
    assert "cgroup" not in answer["asked"]


def test_the_hour_that_was_asked_about_counts(rules: Path, capsys: Capture) -> None:
    rules.write_text("rules: [{name: a, action: deny, schedule: mon 08:00-09:00}]")
    for moment, action in (("08:59", "deny"), ("09:00", "ask")):
        assert asked(rules, f"--exe /x --at 2030-06-24T{moment}", capsys)["action"] == action
    assert "at" in asked(rules, "--exe /x", capsys)["asked"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--exe /x", "ask: no rule matches: default"),
        ("--owner unknown", "reject: no rule matches and the owner is not known: unattributed"),
    ],
)
def test_people_are_told_when_no_rule_matches(
    rules: Path, line: str, said: str, capsys: Capture
) -> None:
    assert cli.main(["explain", "--rules", str(rules), *line.split()]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_without_rules_the_default_is_told(rules: Path, capsys: Capture) -> None:
    rules.write_text("default: deny")
    assert cli.main(["explain", "--rules", str(rules), "--exe", "/x"]) == 0
    assert capsys.readouterr().out.endswith("\n\ndeny: no rule matches: default\n")


def test_bad_rules_are_not_asked(rules: Path, capsys: Capture) -> None:
    rules.write_text("[]")
    assert cli.main(["explain", "--rules", str(rules)]) == 1
    assert "rules.yaml:1:1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "action", "rule"),
    [
        (
            "--exe /usr/bin/curl --proto tcp --daddr 192.0.2.1 --dport http",
            "allow",
            "curl in the office",
        ),
        (
            "--exe /usr/bin/curl --proto tcp --daddr 2001:db8::1 --dport 443",
            "allow",
            "curl in the office",
        ),
        ("--exe /usr/bin/curl --proto tcp --daddr 203.0.113.1 --dport 80", "deny", "no trackers"),
        (
            "--exe /usr/bin/nc.openbsd --proto tcp --daddr 192.0.2.1 --dport 8080",
            "reject",
            "no telnet by netcat",
        ),
        (
            "--exe /usr/bin/nc.openbsd --proto tcp --daddr 192.0.2.1 --dport 23",
            "reject",
            "no telnet by netcat",
        ),
        ("--exe /usr/bin/dig --proto udp --daddr 192.0.2.1 --dport 53", "allow", "dns"),
        ("--exe /usr/bin/dig --proto udp --daddr 198.51.100.1 --dport 53", "ask", None),
        ("--exe /usr/bin/ping --proto icmpv6 --daddr 2001:db8::1", "allow", "ping"),
        ("--exe /usr/bin/wget --proto tcp --daddr 198.51.100.1 --dport 80", "ask", None),
        ("--owner kernel --proto icmpv6", "allow", "the kernel itself"),
        ("--owner unknown --proto tcp --daddr 192.0.2.1 --dport 80", "deny", None),
    ],
)
def test_the_example_rules_decide(
    line: str, action: str, rule: str | None, capsys: Capture
) -> None:
    answer = asked(EXAMPLE, line, capsys)
    assert (answer["action"], answer["rule"]) == (action, rule)


def test_answers_decide_where_the_rules_say_ask_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules, answers = tmp_path / "rules.yaml", tmp_path / "answers.yaml"
    rules.write_text("rules: [{name: not by mail, action: deny, dport: 25}]\n", "utf-8")
    answers.write_text(
        "rules: [{name: curl anywhere, action: allow, exe: /usr/bin/curl}]\n", "utf-8"
    )
    ask = ["explain", "--rules", str(rules), "--exe", "/usr/bin/curl", "--proto", "tcp", "--dport"]

    said = []
    for port, more in (("25", [str(answers)]), ("443", [str(answers)]), ("443", [])):
        assert cli.main([*ask, port, *(("--answers", *more) if more else ())]) == 0
        said.append(capsys.readouterr().out.splitlines()[-1])

    assert "not by mail" in said[0]
    assert "curl anywhere" in said[1]
    assert said[2].startswith("ask")


def test_what_is_on_a_list_in_a_file_is_read_for_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ads.txt").write_text("# mine\ntracker.example\n192.0.2.0/24\n", "ascii")
    rules = tmp_path / "r.yaml"
    rules.write_text(
        f"lists: {{ads: {{file: {tmp_path}/ads.txt}}}}\n"
        "rules: [{name: listed, action: deny, list: ads}]\n",
        "utf-8",
    )
    command = ["explain", "--rules", str(rules), "--state", str(tmp_path / "state"), "--json"]
    for options, line in ((("--host", "a.tracker.example"), 2), (("--daddr", "192.0.2.7"), 3)):
        assert cli.main([*command, *options]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["rule"], told["list"]["line"]) == ("listed", line)
    assert cli.main([*command, "--host", "example.org"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] is None


def test_a_list_that_is_not_there_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text(
        "lists: {ads: {url: 'https://lists.example/x'}, mine: {file: /no/such/list}}\n"
        "rules: [{name: listed, action: deny, list: [ads, mine]}]\n",
        "utf-8",
    )
    command = ["explain", "--rules", str(rules), "--state", str(tmp_path), "--host", "a.test"]
    assert cli.main(command) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "what is on list ads is not known: it has not been fetched yet"
    assert told[1].startswith("what is on list mine is not known: ")
    assert "No such file" in told[1]


HOST_UNTOLD = (
    "deny: rule no ads (r.yaml:3): its on_unknown_name, for the host's name cannot be told"
)
HOST_RULES = """\
default: deny
rules:
- {name: no ads, action: reject, host: [ads.example, "*.ads.example"], on_unknown_name: deny}
- {name: web, action: allow, host: "*.example.org"}
"""


@pytest.mark.parametrize(
    ("words", "host", "outcome"),
    [
        (
            "--host Cdn.Ads.example.",
            "cdn.ads.example",
            "reject: rule no ads (r.yaml:3)",
        ),
        ("--host a.example.org", "a.example.org", "allow: rule web (r.yaml:4)"),
        (
            "--host a.example.org --host b.example.org",
            "ambiguous: a.example.org or b.example.org",
            "allow: rule web (r.yaml:4)",
        ),
        (
            "--host a.example.org --host ads.example",
            "ambiguous: a.example.org or ads.example",
            HOST_UNTOLD,
        ),
        (
            "",
            "unknown (not given on the command line)",
            HOST_UNTOLD,
        ),
    ],
)
def test_explain_says_what_becomes_of_a_host(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    words: str,
    host: str,
    outcome: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(HOST_RULES)
    assert cli.main(["explain", "--rules", "r.yaml", *words.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"host    {host}" in lines
    assert lines[-1] == outcome


@pytest.mark.parametrize("host", ["192.0.2.1", "a b", "*.example.org"])
def test_explain_takes_no_address_and_no_pattern_for_a_host(host: str, capsys: Capture) -> None:
    assert cli.main(["explain", "--host", host]) == 2
    assert "argument --host" in capsys.readouterr().err
