"""The command line: what it understands and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nfsnitch import __version__, cli
from nfsnitch.core.attach import AttachMode
from nfsnitch.options import DEFAULT_QUEUE_NUM, DEFAULT_RULES, RunOptions

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Return the options of the runs, in place of a daemon."""
    runs: list[RunOptions] = []

    def run(options: RunOptions) -> int:
        runs.append(options)
        return 7

    daemon = ModuleType("nfsnitch.daemon")
    monkeypatch.setattr(daemon, "run", run, raising=False)
    monkeypatch.setitem(sys.modules, "nfsnitch.daemon", daemon)
    monkeypatch.setattr("nfsnitch.daemon", daemon, raising=False)
    return runs


def test_run_without_options_has_the_defaults(ran: list[RunOptions]) -> None:
    assert cli.main(["run"]) == 7
    assert ran == [RunOptions((DEFAULT_RULES,), None, DEFAULT_QUEUE_NUM, None)]


def test_run_takes_rules_several_times_in_order(ran: list[RunOptions]) -> None:
    words = "run --rules b a --rules c --cgroup /sys/fs/cgroup/x --queue 5 --records -"
    cli.main(words.split())
    rules = (Path("b"), Path("a"), Path("c"))
    assert ran == [RunOptions(rules, Path("/sys/fs/cgroup/x"), 5, "-")]


@pytest.mark.parametrize("mode", AttachMode)
def test_run_takes_every_attach_mode_by_its_name(ran: list[RunOptions], mode: AttachMode) -> None:
    cli.main(["run", "--attach", mode.value])
    assert [each.attach for each in ran] == [mode]


def test_the_version_is_told(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"nfsnitch {__version__}\n"


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["explain"], ["doctor"]], ids=str)
def test_every_command_has_a_help_text(command: list[str], capsys: Capture) -> None:
    assert cli.main([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: nfsnitch", *command]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "required: COMMAND"),
        ("fly", "invalid choice: 'fly'"),
        ("check", "required: PATH"),
        ("run --queue 65536", "queues go from 0 to 65535"),
        ("run --queue -1", "--queue"),
        ("run --queue 99999999", "queues go from 0 to 65535"),
        ("run --attach xdp", "choose one of auto, lsm, kprobe, cgroup"),
        ("run --rec -", "unrecognized arguments: --rec -"),
        ("explain --proto tpc", "did you mean 'tcp'?"),
        ("explain --dport 0x50", "decimal digits"),
        ("explain --dport 1-9", "several ports"),
        ("explain --daddr example.org", "no IPv4 or IPv6 address"),
        ("explain --daddr fe80:%eth0", "no IPv4 or IPv6 address"),
        ("explain --daddr fe80::1%eth0", "no IPv4 or IPv6 address"),
        ("explain --uid root", "a uid is a number"),
        ("explain --uid 0 --user root", "not allowed with"),
        ("explain --user no-such-user", "this machine has no such user"),
        ("explain --owner process", "invalid choice"),
        ("explain --owner kernel --exe /x", "instead of --exe"),
        ("explain --proto icmp --dport 80", "has no ports"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    line: str, said: str, capsys: Capture
) -> None:
    assert cli.main(line.split()) == cli.USAGE_ERROR
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_a_reader_who_has_seen_enough_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            (sys.executable, "-m", "nfsnitch.cli", "schema"),
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert (done.returncode, done.stderr) == (141, b"")


def test_what_is_quoted_from_the_command_line_cannot_write_to_the_terminal(
    capsys: Capture,
) -> None:
    for line in (["\x1b[31m"], ["explain", "--proto", "\x1b[31m"], ["run", "--\x1b[31m"]):
        assert cli.main(line) == cli.USAGE_ERROR
        assert "\\x1b[31m" in capsys.readouterr().err
