"""The man pages: complete, up to date, and without a fault that groff or mandoc knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nfsnitch import cli
from nfsnitch.adapters.rulefile import descriptions
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.settings import SETTINGS, TIMEOUTS
from nfsnitch.commands.grammar import grammar

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "man").iterdir())


def printed(page: str) -> str:
    """Return the page as a reader sees it, wide enough that no word is broken."""
    text = output("man", "-l", str(ROOT / "man" / page))
    return re.sub(r".\x08", "", text)


def output(*command: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert told.stderr == ""
    return told.stdout


def test_the_pages_are_those_of_the_parsers_and_tables(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "manual.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    assert [each.name for each in PAGES] == sorted(each.name for each in tmp_path.iterdir())
    for page in PAGES:
        assert page.read_text() == (tmp_path / page.name).read_text()  # make generated


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_nothing_in_a_page_is_wrong(page: Path) -> None:
    assert output("mandoc", "-T", "lint", "-W", "warning", str(page)) == ""
    assert output("groff", "-ww", "-man", "-K", "utf8", "-T", "utf8", str(page)) != ""


def test_every_command_and_option_is_explained() -> None:
    page = printed("nfsnitch.8")
    for command in grammar(cli.command_parser()).all():
        if command.path:
            assert re.search(rf"^ {{3}}{' '.join(command.path)}$", page, re.MULTILINE)
            assert f"nfsnitch {' '.join(command.path)}" in page
        for option in command.options:
            for flag in option.flags:
                assert re.search(rf"^ {{7}}(?:-\w, )?{flag}\b", page, re.MULTILINE)


@pytest.mark.parametrize(
    "key",
    [*RULE_FIELDS, *descriptions.HEAD, *descriptions.TOP_LEVEL, *SETTINGS, *TIMEOUTS],
)
def test_every_key_of_a_rule_file_is_explained(key: str) -> None:
    assert re.search(rf"^ {{7}}{key}(?: |$)", printed("nfsnitch-rules.5"), re.MULTILINE)
