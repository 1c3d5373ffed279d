"""docs/check.md: its example is warned of just so, and every warning is explained."""

import re
from pathlib import Path
from typing import get_args

import pytest

from nfsnitch.adapters.rulefile import Names, lint
from nfsnitch.adapters.rulefile.problems import WarningCode

DOCUMENT = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
NAMES = Names(
    {"alice": 1000}.get,
    lambda service: frozenset({"http": {80}, "https": {443}}.get(service, ())),
)


def block(kind: str) -> str:
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_example_is_warned_of_just_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lint, "rule_file_warnings", lambda _: ())
    file = Path("rules.yaml")
    file.write_text(block("yaml"))
    warnings = lint.lint([file], NAMES, now_ns=0).warnings
    assert "".join(f"{each}\n" for each in warnings) == block("warnings")


def test_every_code_is_in_the_table_and_no_other() -> None:
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", DOCUMENT, re.MULTILINE))
    assert explained == set(get_args(WarningCode))
