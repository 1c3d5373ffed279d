"""``nfsnitch completions``: the real shells complete by it."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nfsnitch import cli
from nfsnitch.commands.completions import SHELLS
from nfsnitch.commands.grammar import Command, grammar

_WAIT_S = 30
_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
_SET_UP = {
    "bash": "nfsnitch() { printf '<%s>' \"$@\"; echo .; }; source ./script; echo read''y\n",
    "zsh": "unsetopt beep auto_remove_slash; autoload -Uz compinit && compinit -u -D; "
    "source ./script; nfsnitch() { printf '<%s>' \"$@\"; echo .; }; echo read''y\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some rules.yaml").touch()
    (tmp_path / "slice").mkdir()
    return tmp_path


def write_script(shell: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completions", shell]) == 0
    (place / "script").write_text(capsys.readouterr().out, encoding="utf-8")


class Terminal:
    """A shell at a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def read_until(self, text: str) -> str:
        """Return what is printed up to *text*, and this."""
        deadline = time.monotonic() + _WAIT_S
        while text not in self._seen:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} does not come, only {self._seen!r}"
            self._seen += os.read(self._fd, 4096).decode(errors="replace")
        before, _, self._seen = self._seen.partition(text)
        return before + text


@contextmanager
def terminal(shell: str, place: Path) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(place), "LC_ALL": "C"}
    process = subprocess.Popen(
        _START[shell],
        cwd=place,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        started = Terminal(ours)
        started.type(_SET_UP[shell])
        started.read_until("ready")
        yield started
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", _START)
def test_a_shell_at_a_terminal_completes_commands_options_and_values(
    shell: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script(shell, place, capsys)
    with terminal(shell, place) as at:
        for typed, words in (
            ("nfsnitch chec", "<check>"),
            ("nfsnitch --ver", "<--version>"),
            ("nfsnitch run --cg", "<run><--cgroup>"),
            ("nfsnitch run --cgroup sl", "<run><--cgroup><slice/>"),
            ("nfsnitch run --rules so", "<run><--rules><some rules.yaml>"),
            ("nfsnitch run --rules x so", "<run><--rules><x><some rules.yaml>"),
            ("nfsnitch explain --owner k", "<explain><--owner><kernel>"),
            ("nfsnitch explain --user roo", "<explain><--user><root>"),
            ("nfsnitch explain --proto udpl", "<explain><--proto><udplite>"),
            ("nfsnitch completions f", "<completions><fish>"),
            ("nfsnitch check --strict so", "<check><--strict><some rules.yaml>"),
        ):
            at.type(f"{typed}\t\n")
            printed = at.read_until(">.")
            assert printed.endswith(f"{words}."), (typed, printed)


def test_bash_knows_the_function(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_script("bash", place, capsys)
    told = subprocess.run(
        ["bash", "-c", "source ./script; complete -p nfsnitch"],  # noqa: S607  found by PATH
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == "complete -F _nfsnitch nfsnitch\n"


def fish_completes(line: str) -> list[str]:
    command = ["fish", "--no-config", "-c", "source ./script; complete -C $argv[1]", line]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stderr == ""
    return [each.partition("\t")[0] for each in told.stdout.splitlines()]


def test_fish_completes_commands_options_and_values(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script("fish", place, capsys)
    program = grammar(cli.command_parser())
    commands = [each.path[-1] for each in program.commands]
    assert sorted(fish_completes("nfsnitch ")) == sorted(commands)
    assert fish_completes("nfsnitch explain --owner ") == ["forwarded", "kernel", "unknown"]
    assert fish_completes("nfsnitch explain --owner=k") == ["--owner=kernel"]
    assert fish_completes("nfsnitch completions ") == sorted(SHELLS)
    assert fish_completes("nfsnitch run --rules so") == ["some rules.yaml"]
    assert fish_completes("nfsnitch check so") == ["some rules.yaml"]
    assert fish_completes("nfsnitch schema so") == []
    assert "root" in fish_completes("nfsnitch explain --user ")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_the_script(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completions", shell]) == 0
    script = capsys.readouterr().out
    program = grammar(cli.command_parser())
    for flag in flags(program):
        assert (f"-l {flag[2:]} " if shell == "fish" and flag[:2] == "--" else flag) in script


def flags(program: Command) -> set[str]:
    return {flag for each in program.all() for option in each.options for flag in option.flags} - {
        "-h"
    }


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completions", "tcsh"]) == cli.USAGE_ERROR
    assert "'bash', 'fish', 'zsh'" in capsys.readouterr().err
