"""Scenarios played: what passes, fails and is skipped, how it is told, and that nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.lab import namespaces
from nfsnitch.lab.process import same_modules
from nfsnitch.lab.runs import remove_leftovers
from nfsnitch.lab.scenario.needs import OWN_MACHINE_VARIABLE
from nfsnitch.lab.waiting import PATIENCE

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.timeout(300),
]

HEAD = """
shows: {shows}
programs: {{good: curl, odd: {{binary: python, path: opt/odd/agent}}}}
rules: |
  version: 1
  default: {default}
  rules:
    - {{name: web, action: allow, exe: $good, dport: 80}}
    - {{name: asked, action: ask, dport: 7}}
steps:
  - run: {{program: $good, args: [-s, "http://198.51.100.2/"], as: first}}
"""
PASSING = """
  - expect: {end: first, status: 0, stdout: hello from the server}
  - expect: {record: {verdict: allow, rule: web, exe: $good, dport: 80, uid: 0}, count: 1}
  - expect: {arrived: {IP: {src: 192.0.2.2}, TCP: {dport: 80, flags: S}}, at: server, count: 1}
  - send:
      program: $odd
      packet: {IP: {dst: 198.51.100.2}, UDP: {sport: 53, dport: 9}}
  - expect: {record: {verdict: reject, exe: $odd, sport: 53}, count: 1}
  - expect: {nothing_arrived: {UDP: {}}, at: server}
  - expect: {no_record: {dport: 81}}
  - expect: {counter: rejected, count: 1}
"""
DAEMON = """
  - run:
      program: $good
      args: [-s, -m, "20", "http://198.51.100.2:7/"]
      as: held
      background: true
  - expect: {counter: questions, count: 1}
  - answer: {question: {dport: 7, exe: $good}, action: reject}
  - expect: {end: held, status: 7}
  - expect: {record: {reason: answered, dport: 7, verdict: reject, held_ms: ">= 0"}, count: 1}
  - rules: {text: "rules: [{action: alow}]", refused: true}
  - firewall: kill
  - firewall: start
  - firewall: pause
  - firewall: resume
  - rules: |
      version: 1
      default: deny
      rules: []
  - firewall: restart
  - run: {program: $good, args: [-s, -m, "0.5", "http://198.51.100.2/"], as: last}
  - expect: {end: last, status: 28}
  - expect: {record: {verdict: drop, dport: 80}, count: ">= 1"}
  - expect: {counter: dropped, count: ">= 1"}
  - command: {on: client, argv: ["true"]}
"""
FAILING: Mapping[str, tuple[str, str, str]] = {
    "record": (
        "expect: {record: {verdict: drop, dport: 80}, within: 200ms}",
        ">= 1 records with verdict drop, dport 80",
        "by {folder}/good: verdict accept",
    ),
    "no-record": (
        "expect: {no_record: {dport: 80}}",
        "0 records with dport 80",
        "by {folder}/good: this one is like it",
    ),
    "arrived": (
        "expect: {arrived: {UDP: {dport: 9}}, at: server, within: 200ms}",
        ">= 1 packets arrived at server: UDP(dport 9)",
        "0 such of ",
    ),
    "nothing-arrived": (
        "expect: {nothing_arrived: {TCP: {dport: 80, flags: S}}, at: server}",
        "0 packets arrived at server: TCP(",
        "1 such of ",
    ),
    "counter": (
        "expect: {counter: rejected, count: 7, within: 200ms}",
        "counter rejected to grow by 7",
        "it grew by 0; what has grown: accepted 1, ",
    ),
    "end": (
        "expect: {end: first, status: 22, stdout: nothing}",
        "first to end with status 22 and 'nothing' on stdout",
        "status 0; stdout: hello from the server; nothing on stderr",
    ),
    "answer": (
        "answer: {question: {dport: 7}, within: 200ms}",
        "a question about dport 7",
        "nothing is asked",
    ),
    "command": (
        "command: {on: server, argv: [cat, /absent]}",
        "cat to end with status 0",
        "status 1: cat: /absent: No such file or directory",
    ),
    "rules": (
        "rules: 'rules: [{name: x, action: alow}]'",
        "the rules to come in force",
        "did you mean 'allow'?",
    ),
    "held": (
        (
            "run: {program: $good, args: [-s, 'http://198.51.100.2:7/'], background: true}\n"
            "  - expect: {counter: questions, count: 1}"
        ),
        "nobody held at the end",
        "1 held, 1 questions",
    ),
    "lost": (
        (
            "firewall: kill\n"
            "  - run: {program: $good, args: [-s, -m, '0.3', 'http://198.51.100.2/'], as: again}\n"
            "  - firewall: start"
        ),
        "counter unheard to stay as it was (or lets_by: [unheard])",
        "packets were dropped since nobody listened",
    ),
}
"""Last step → what is told as expected, and a part of what is told as seen."""

Json = dict[str, Any]


def lab_run(*argv: str | Path) -> subprocess.Popen[str]:
    """Start ``nfsnitch lab run``, on a machine that is not its own."""
    not_here = {OWN_MACHINE_VARIABLE, "NFSNITCH_GUEST_MODE"}
    env = {name: value for name, value in os.environ.items() if name not in not_here}
    return subprocess.Popen(
        [sys.executable, "-m", "nfsnitch.cli", "lab", "run", *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env | same_modules(),
        text=True,
    )


def played(*argv: str | Path) -> tuple[int, str, str]:
    """Run it to its end; return exit status, output and errors."""
    with lab_run(*argv) as process:
        out, err = process.communicate(timeout=200 * PATIENCE)
    return process.returncode, out, err


def write(folder: Path, name: str, steps: str, default: str = "reject", more: str = "") -> Path:
    """Write a scenario."""
    path = folder / f"{name}.yaml"
    head = HEAD.format(shows=f"This is {name}.", default=default)
    path.write_text(f"{more}{head}{steps.lstrip(chr(10))}", encoding="utf-8")
    return path


def left_of(pid: int) -> Sequence[str]:
    """Return what there is under the name of a process's labs."""
    places = [*v2_root().iterdir(), *Path(tempfile.gettempdir()).iterdir()]
    names = [*namespaces.names(), *(each.name for each in places)]
    return [name for name in names if name.startswith(f"nfs-{pid}-")]


@pytest.fixture(scope="module", name="failed")
def fixture_failed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Json]:
    """Play one scenario for each way of failing, and return the outcomes by its name."""
    folder = tmp_path_factory.mktemp("scenarios")
    for name, (step, _, _) in FAILING.items():
        expects = "  - expect: {counter: packets, count: '>= 0'}\n"
        write(folder, name, f"{expects}  - {step}\n")
    status, out, err = played(folder, "--json", "--keep", folder / "kept")
    assert (status, err) == (1, "")
    outcomes = json.loads(out)
    assert outcomes["failed"] == len(FAILING)
    return {Path(each["file"]).stem: each for each in outcomes["scenarios"]}


@pytest.mark.parametrize("name", FAILING)
def test_each_expectation_can_fail_and_says_what_was_seen_instead(
    failed: Mapping[str, Json], name: str
) -> None:
    _, expected, seen = FAILING[name]
    (failure,) = failed[name]["failures"]
    assert expected in failure["expected"]
    before, _, after = seen.partition("{folder}")
    assert before in failure["seen"]
    assert after in failure["seen"]
    assert f"{name}.yaml" in failure["place"]


def test_what_failed_leaves_a_folder_with_all_that_was_seen(failed: Mapping[str, Json]) -> None:
    folder = Path(failed["record"]["folder"])
    assert folder.parent.name == "kept"
    records = (folder / "records.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["dport"] for line in records] == [80]
    assert "table inet nfsnitch" in (folder / "ruleset.nft").read_text("utf-8")
    assert json.loads((folder / "counters.json").read_text("utf-8"))["grown"]["accepted"] == 1
    assert "shows: This is record." in (folder / "scenario.yaml").read_text("utf-8")
    assert "expected: >= 1 records" in (folder / "failure.txt").read_text("utf-8")
    assert (folder / "first.stdout").read_text("utf-8").startswith("hello from the server")
    captures = sorted(each.name for each in folder.glob("*.pcap"))
    assert captures == [
        "client-eth0.pcap",
        "router-eth0.pcap",
        "router-eth1.pcap",
        "server-eth0.pcap",
    ]
    assert (folder / "server-eth0.pcap").stat().st_size > 24


def test_what_passes_is_told_in_a_table_and_to_programs(tmp_path: Path) -> None:
    passing = write(tmp_path, "passing", PASSING)
    write(tmp_path, "daemon", DAEMON)
    write(tmp_path, "skipped", PASSING, more="needs: [own-machine]\n")
    junit = tmp_path / "junit.xml"
    status, out, err = played(tmp_path, "--junit", junit, "--jobs", "2")
    assert (status, err) == (0, "")
    assert f"{passing}\n" in out
    assert "needs own-machine: this machine is not the lab's alone" in out
    assert "2 passed, 1 skipped in " in out.splitlines()[-1]

    (suite,) = ET.fromstring(junit.read_bytes())  # noqa: S314  it is our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "0", "1")
    names = [Path(str(case.get("name"))).stem for case in suite]
    assert names == ["daemon", "passing", "skipped"]


def test_a_scenario_may_have_a_network_and_a_daemon_of_its_own(tmp_path: Path) -> None:
    address = "{eth0: [192.0.2.9/24, 2001:db8::2/64]}"
    own = f"network: {{hosts: {{client: {{addresses: {address}}}}}}}\noptions: [--queue, '7']\n"
    steps = "  - expect: {arrived: {IP: {src: 192.0.2.9}, TCP: {flags: S}}, at: server, count: 1}\n"
    write(tmp_path, "own", steps, more=own)
    write(tmp_path, "fresh", PASSING, more="fresh: true\n")
    write(tmp_path, "usual", PASSING)
    status, out, err = played(tmp_path)
    assert (status, err) == (0, ""), out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_is_interrupted_takes_everything_down(tmp_path: Path, jobs: str) -> None:
    for number in range(2):
        steps = "  - run: {program: sleep, args: ['100'], within: 100s}\n"
        expects = "  - expect: {counter: packets, count: '>= 0'}\n"
        write(tmp_path, f"long-{number}", PASSING if not number else expects + steps)
    with lab_run(tmp_path, "--jobs", jobs) as process:
        assert process.stdout is not None
        line = process.stdout.readline()  # of the one that ends
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100 * PATIENCE)
    assert line.startswith("passed")
    assert process.returncode == 130
    assert "interrupted" in err
    assert left_of(process.pid) == []


def test_what_a_killed_one_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    sleeps = "  - run: {program: sleep, args: ['100'], within: 100s}\n"
    write(tmp_path, "long", f"  - expect: {{counter: packets, count: '>= 0'}}\n{sleeps}")
    write(tmp_path, "a-short", PASSING)
    with lab_run(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("passed")
        process.kill()
    assert left_of(process.pid) != []
    status, out, _ = played(tmp_path / "a-short.yaml")
    assert (status, left_of(process.pid)) == (0, []), out
    assert remove_leftovers() == []


def test_rules_that_take_another_daemon_get_one_and_wrong_ones_are_told(tmp_path: Path) -> None:
    usual = write(tmp_path, "a-usual", PASSING).read_text("utf-8")
    other = usual.replace("version: 1\n", "version: 1\n  timeouts: {hang: 30s}\n")
    (tmp_path / "b-other.yaml").write_text(other, "utf-8")
    (tmp_path / "c-wrong.yaml").write_text(usual.replace("default: reject", "default: rejct"))
    (tmp_path / "d-usual.yaml").write_text(usual, "utf-8")
    status, out, _ = played(tmp_path)
    assert [line.split()[0] for line in out.splitlines() if ".yaml" in line and " s " in line] == [
        *("passed", "passed", "broken", "passed"),
    ]
    assert "did you mean 'reject'?" in out
    assert status == 1
