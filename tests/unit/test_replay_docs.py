"""docs/replay.md: what stands there is what is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nfsnitch import cli
from nfsnitch.lab.replay.example import write

PAGE = Path(__file__).parents[2] / "docs" / "replay.md"
EXAMPLES = re.findall(r"```console\n\$ nfsnitch (.*)\n((?:.*\n)*?)```", PAGE.read_text())


@pytest.mark.parametrize(("line", "output"), EXAMPLES)
def test_an_example_of_the_page_prints_what_stands_there(
    line: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    status = cli.main(shlex.split(line))
    captured = capsys.readouterr()
    assert captured.out == output
    assert captured.err == ""
    assert status == int("--against" in line)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 4
