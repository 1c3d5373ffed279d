"""What rules of files say, as clients are shown it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsnitch.adapters.rulefile import load, system_names
from nfsnitch.asking.excerpts import excerpts

TEXT = """\
default: ask
rules:
  # the web
  - name: web
    action: allow
    dport: [80, 443]

  # mail goes nowhere
  - {name: mail, action: deny, dport: 25}
timeouts: {ask: 30s}
"""


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(TEXT, "utf-8")
    return path


def test_each_rule_is_shown_as_it_is_written_without_what_stands_around_it(path: Path) -> None:
    rules = load([path], system_names()).rules

    assert excerpts(rules, None) == {
        "web": "name: web\naction: allow\ndport: [80, 443]\n",
        "mail": "{name: mail, action: deny, dport: 25}\n",
    }
    assert excerpts(rules[:1], rules[1]) == {"web": "name: web\naction: allow\ndport: [80, 443]\n"}
    assert excerpts((), None) == {}


def test_a_rule_whose_file_has_changed_is_not_shown_as_another_one(path: Path) -> None:
    rules = load([path], system_names()).rules
    path.write_text("\n\n\n" + TEXT, "utf-8")

    assert "mail" not in excerpts(rules, None)


def test_a_file_that_is_roots_alone_is_shown_to_root_alone(path: Path) -> None:
    rules = load([path], system_names()).rules
    path.chmod(0o600)

    assert set(excerpts(rules, None)) == {"web", "mail"}
    assert excerpts(rules, None, for_root=False) == {}


def test_a_file_that_is_gone_is_no_failure(path: Path) -> None:
    rules = load([path], system_names()).rules
    path.unlink()

    assert excerpts(rules, None) == {}
