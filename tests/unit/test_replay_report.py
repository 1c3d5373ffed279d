"""What a replay says: tables, differences, counts, exit statuses; and how much it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builders import WALL_NS, flow, process
from nfsnitch import cli
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import Family, Flow, packed_address
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import Attribution
from nfsnitch.core.packet import parse
from nfsnitch.core.record import Record
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.tracking import Tracker
from replay_play import CLIENT, OTHER, SERVER, Play, connection, datagram, segment

ALLOWED = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
ASKED = Decision(Verdict.ACCEPT, Action.ASK, Reason.ANSWERED, "answer 3")
OLD = """\
default: ask
rules:
- {name: web, action: allow, dport: [80, 443]}
- {name: mail, action: deny, dport: 25}
"""
NEW = """\
default: ask
rules:
- {name: plain, action: reject, dport: 80}
- {name: secure, action: allow, dport: 443}
- {name: mail, action: deny, dport: 25}
"""


@pytest.fixture(name="replay")
def fixture_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    return Play(tmp_path, capsys)


def a_line(dport: int = 80, decision: Decision = ALLOWED, exe: str = "/usr/bin/curl") -> str:
    who = (process(exe), Attribution.FLOW_MAP, 1, "eth0")
    return Record(
        WALL_NS + 500_000_000, decision, 500_000_000, 1, flow(dport=dport), *who
    ).as_line()


def test_flows_that_are_alike_are_one_row_with_what_was_and_what_would_be(replay: Play) -> None:
    path = replay.records([a_line(80), a_line(80), a_line(22, ASKED), a_line(25)])
    said = replay.said(path, "--rules", replay.rules(OLD))
    assert replay.status == 0
    assert said == (
        "FIRST                TIMES  FLOW              PROGRAM        HOST  "
        "BEFORE                  DECISION\n"
        "2027-01-15 08:00:00  2      tcp 192.0.2.1:80  /usr/bin/curl  -     "
        "allow: web              allow: web\n"
        "2027-01-15 08:00:00  1      tcp 192.0.2.1:22  /usr/bin/curl  -     "
        "ask (answered: accept)  ask (default)\n"
        "2027-01-15 08:00:00  1      tcp 192.0.2.1:25  /usr/bin/curl  -     "
        "allow: web              deny: mail\n"
        "\n"
        "1 of 4 flows decided otherwise than recorded\n"
        "          1  allow -> deny\n"
        "4 flows: allow 2, deny 1, ask 1\n"
        "          2  web\n"
        "          1  no rule: default\n"
        "          1  mail\n"
        "read: 4 records\n"
    )


def test_against_other_rules_only_what_differs_is_told_and_the_exit_status_says_so(
    replay: Play,
) -> None:
    path = replay.records([a_line(80), a_line(443), a_line(25)])
    arguments = ("--rules", replay.rules(OLD), "--against", replay.rules(NEW, "new.yaml"))
    said = replay.said(path, *arguments)
    assert replay.status == 1
    (row,) = (line for line in said.splitlines() if line.startswith("2027"))
    assert row.endswith("tcp 192.0.2.1:80  /usr/bin/curl  -     allow: web  reject: plain")
    assert "1 of 3 flows decided otherwise by the others\n" in said
    assert "          1  allow -> reject\n          1  decided alike, by another rule\n" in said

    document = json.loads(replay.said(path, *arguments, "--json"))
    assert replay.status == 1
    assert document["changes"] == [{"from": "allow", "to": "reject", "flows": 1}]
    (row,) = document["rows"]
    assert (row["recorded"]["rule"], row["rules"]["rule"], row["against"]["rule"]) == (
        "web",
        "web",
        "plain",
    )


def test_rules_that_say_the_same_do_not_differ(replay: Play) -> None:
    path = replay.records([a_line(443), a_line(25), a_line(22)])
    new = replay.rules(NEW, "new.yaml")
    said = replay.said(path, "--rules", replay.rules(OLD), "--against", new)
    assert replay.status == 0
    assert said.startswith("0 of 3 flows decided otherwise by the others\n")


def test_both_rulesets_see_the_same_capture_each_with_its_own_settings(replay: Play) -> None:
    named = "unattributed: deny\nrules: [{name: ours, action: allow, host: shop.example}]"
    request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    deaf = f"names: {{first_data: false}}\n{named}"
    path = replay.capture([*connection(80, data=request), *connection(81, OTHER, 7, b"\0" * 9)])
    rows = replay.rows(
        path,
        *("--rules", replay.rules(named), "--client", CLIENT),
        *("--against", replay.rules(deaf, "deaf.yaml")),
    )
    assert replay.status == 1
    assert [(row["daddr"], row["names"], row["rules"]["action"]) for row in rows] == [
        (SERVER, ["shop.example"], "allow")
    ]
    assert rows[0]["against"]["action"] == "deny"


def test_what_programs_and_names_say_of_themselves_does_no_harm_to_a_terminal(
    replay: Play,
) -> None:
    evil = "\x1b[2J\u202e\n"
    record = Record(
        WALL_NS,
        replace(ALLOWED, rule=evil),
        0,
        1,
        flow(),
        process(f"/tmp/{evil}"),  # noqa: S108  it is not opened
        Attribution.FLOW_MAP,
        1,
        "eth0",
        names=Names((Name(evil, NameSource.HTTP, own=True, known_ns=0),)),
    )
    path = replay.records([record.as_line(), "{"], f"odd{evil[:-1]}.jsonl")
    said = replay.said(path, "--rules", replay.rules(OLD))
    for text in (said, replay.said_wrong):
        assert all(each.isprintable() for each in text.splitlines())
        assert "\\x1b[2J\\u202e" in text


def test_rows_are_kept_within_a_bound_and_counts_are_of_all(replay: Play) -> None:
    path = replay.records([a_line(dport) for dport in (1, 2, 3, 1, 4)])
    said = replay.said(path, "--rules", replay.rules(OLD), "--rows", "2")
    assert said.count("tcp 192.0.2.1:") == 2
    assert "5 flows: ask 5\n" in said
    assert "2 flows of further kinds in no row above (--rows)\n" in said


def test_the_most_recent_conversations_are_kept_and_the_loss_is_counted() -> None:
    notes = Notes()
    tracker = Tracker(lambda _: True, notes, most=10)
    for sport in range(1, 31):
        packet = bytes(segment("S", sport))
        flow_of = parse(packet)
        assert isinstance(flow_of, Flow)
        tracker.take(packet, flow_of, 0)
    assert len(tracker) == 10
    assert notes.counts["conversations forgotten, of too many at once"] == 20


def test_problems_beyond_the_first_are_only_counted(replay: Play) -> None:
    path = replay.records([*["{"] * 50, a_line()])
    replay.said(path, "--rules", replay.rules(OLD))
    lines = replay.said_wrong.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 30 more of such problems"


def test_local_lists_decide_as_they_do_in_the_daemon(replay: Play) -> None:
    listed = replay.folder / "block.list"
    listed.write_text(f"{SERVER}/32\n")
    rules = f"""\
unattributed: allow
lists:
  blocked: {{file: {listed}, format: networks}}
  remote: {{url: "https://lists.example/all.txt", format: networks}}
rules:
- {{name: no, action: deny, list: blocked}}
- {{name: nor, action: deny, list: remote}}
"""
    path = replay.capture([datagram(), datagram(daddr=OTHER)])
    arguments = ("--rules", replay.rules(rules), "--client", CLIENT, "--state", replay.folder)
    said = replay.said(path, *arguments)
    assert f"deny: no [{SERVER}/32]" in said
    assert "allow (unattributed)" in said
    assert replay.said_wrong == (
        "list remote: it comes from the network, and no daemon has kept it here; "
        "nothing is known to be on it\n"
    )


@pytest.mark.parametrize("content", ["", "no: [rules", "rules: [{name: x}]"])
def test_rules_that_are_wrong_are_bad_input(replay: Play, content: str) -> None:
    path = replay.records([a_line()])
    rules = replay.rules(content) if content else replay.folder / "missing.yaml"
    assert replay.said(path, "--rules", rules) == ""
    assert replay.status == 2
    assert str(rules) in replay.said_wrong


@pytest.mark.parametrize("content", [b"\xd4\xc3\xb2\xa1", b"no record\n", b"\x1f\x8bno"])
def test_what_is_neither_capture_nor_records_is_bad_input(replay: Play, content: bytes) -> None:
    path = replay.folder / "what"
    path.write_bytes(content)
    replay.said(path, "--rules", replay.rules(OLD))
    assert replay.status == 2
    assert str(path) in replay.said_wrong


def test_a_file_that_is_not_there_is_bad_input(replay: Play) -> None:
    replay.said(replay.folder / "none", "--rules", replay.rules(OLD))
    assert replay.status == 2
    assert "No such file or directory" in replay.said_wrong


def test_an_address_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "replay", "x", "--client", "nobody"]) == 2
    assert "no address and no network" in capsys.readouterr().err


def test_captures_and_records_are_replayed_together(replay: Play) -> None:
    capture, records = replay.capture([segment("S")]), replay.records([a_line(25)])
    document = replay.document(capture, records, "--rules", replay.rules(OLD))
    assert sorted((row["dport"], row["recorded"] is None) for row in document["rows"]) == [
        (25, False),
        (80, True),
    ]


def test_a_flow_of_ipv6_is_told_with_its_port_apart(replay: Play) -> None:
    of_flow = flow()._replace(
        family=Family.IPV6, saddr=packed_address("2001:db8::2"), daddr=packed_address("2001:db8::1")
    )
    who = (process(), Attribution.FLOW_MAP, 1, "eth0")
    path = replay.records([Record(WALL_NS, ALLOWED, 0, 1, of_flow, *who).as_line()])
    assert "tcp [2001:db8::1]:80 " in replay.said(path, "--rules", replay.rules(OLD))
