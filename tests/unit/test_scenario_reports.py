"""How scenarios went, told in a table, as JSON and as JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nfsnitch import cli
from nfsnitch.lab.scenario.jobs import shared_out
from nfsnitch.lab.scenario.model import Host, Network, Scenario
from nfsnitch.lab.scenario.outcomes import Failure, Outcome, Result
from nfsnitch.lab.scenario.reports import (
    as_json,
    as_junit,
    exit_status,
    outcome_lines,
    summary,
)

FAILURE = Failure("b.yaml:3:5", "expect it", "one <record> & more", "none\nof \x1b them")
OUTCOMES = [
    Outcome("a.yaml", "A shows.", Result.PASSED, 0.25),
    Outcome("b.yaml", "B shows.", Result.FAILED, 1.5, (FAILURE,), folder="/tmp/b"),  # noqa: S108
    Outcome("c.yaml", "C shows.", Result.SKIPPED, why="needs sctp: there is none"),
    Outcome("d\n.yaml", "D shows.", Result.BROKEN, 0.5, (FAILURE,)),
]


def test_a_failure_says_where_what_was_expected_and_what_was_seen() -> None:
    assert list(outcome_lines(OUTCOMES[1])) == [
        "failed     1.50 s  b.yaml",
        "        shows     B shows.",
        "        at        b.yaml:3:5: expect it",
        "        expected  one <record> & more",
        "        seen      none",
        r"                  of \x1b them",
        "        folder    /tmp/b",
    ]


def test_what_is_skipped_says_why_and_names_of_files_are_made_harmless() -> None:
    assert list(outcome_lines(OUTCOMES[0])) == ["passed     0.25 s  a.yaml"]
    assert list(outcome_lines(OUTCOMES[2]))[1] == "        needs sctp: there is none"
    assert next(iter(outcome_lines(OUTCOMES[3]))) == r"broken     0.50 s  d\x0a.yaml"


def test_the_last_line_counts() -> None:
    assert summary(OUTCOMES, 2.25) == "1 passed, 1 failed, 1 broken, 1 skipped in 2.2 s"
    assert summary([], 0) == "no scenario was played in 0.0 s"


@pytest.mark.parametrize(("chosen", "status"), [([0, 2], 0), ([0, 1], 1), ([3], 1), ([], 0)])
def test_skipped_ones_are_no_failure(chosen: list[int], status: int) -> None:
    assert exit_status([OUTCOMES[each] for each in chosen]) == status


def test_programs_get_everything_as_json() -> None:
    told = json.loads(as_json(OUTCOMES, 2.5))
    assert (told["passed"], told["failed"], told["broken"], told["skipped"]) == (1, 1, 1, 1)
    assert told["scenarios"][1]["failures"][0]["seen"] == FAILURE.seen
    assert told["scenarios"][1]["result"] == "failed"


def test_junit_is_well_formed_whatever_was_seen() -> None:
    (suite,) = ET.fromstring(as_junit(OUTCOMES, 2.5))  # noqa: S314  it is our own
    numbers = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert numbers == ["4", "1", "1", "1"]
    passed, failed, skipped, broken = suite
    assert list(passed) == []
    assert failed[0].tag == "failure"
    assert failed[0].get("message") == "expected one <record> & more"
    assert "none\nof  them" in str(failed[0].text)
    assert skipped[0].get("message") == "needs sctp: there is none"
    assert broken[0].tag == "error"


def scenario(name: str, *, host: str = "client", fresh: bool = False, queue: str = "") -> Scenario:
    network = Network((Host(host),), ())
    options = ("--queue", queue) if queue else ()
    return Scenario(name, "x", network, "", (), {}, (), options=options, fresh=fresh)


def test_scenarios_with_one_network_are_played_together_those_that_spoil_it_last() -> None:
    given = [
        scenario("fresh", fresh=True),
        scenario("other", host="other"),
        scenario("options", queue="7"),
        scenario("usual"),
    ]
    batches = [[each.file for each in batch] for batch in shared_out(given, 1)]
    assert batches == [["usual", "options", "fresh"], ["other"]]
    batches = [[each.file for each in batch] for batch in shared_out(given, 2)]
    assert batches == [["usual", "options"], ["fresh"], ["other"]]


GOOD = """
shows: A sentence.
rules: "version: 1\\nrules: []\\n"
steps: [{expect: {no_record: {dport: 80}}}]
"""
Capture = Callable[[], tuple[str, str]]


def test_scenarios_of_a_folder_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text(GOOD, "utf-8")
    assert cli.main(["lab", "run", "--list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/a.yaml: A sentence.",
        f"{tmp_path}/b.yaml: A sentence.",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("shows: A\nstep: []\n", "did you mean 'steps'?"),
        (None, "there is no scenario"),
        ("x: [", ""),
    ],
)
def test_bad_files_are_told_and_nothing_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "bad.yaml").write_text(content, "utf-8")
        (tmp_path / "good.yaml").write_text(GOOD, "utf-8")
    assert cli.main(["lab", "run", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("bad.yaml:") == (err.count("\n") if content is not None else 0)


@pytest.mark.parametrize("jobs", ["0", "x", "65"])
def test_jobs_are_a_number(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "run", "--jobs", jobs, "x.yaml"]) == 2
    assert f"'{jobs}': it is a number from 1 to 64" in capsys.readouterr().err
