"""Texts of scenarios for tests, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.problems import RuleFileError
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario.reading import load_text

LEAST = """\
shows: Nothing goes out.
rules: |
  version: 1
  rules: []
steps:
"""
SENT = "  - send: {packet: {IP: {dst: 198.51.100.2}, UDP: {dport: 9}}}\n"
EXPECT = "  - expect: {no_record: {dport: 80}}\n"


def read(text: str) -> model.Scenario:
    """Read the text of a scenario."""
    return load_text(Source(0, "test.yaml", text))


def with_head(head: str) -> model.Scenario:
    """Read a scenario that has *head* before what each needs."""
    return read(head + LEAST + EXPECT)


def step(text: str, head: str = "") -> Any:  # noqa: ANN401  one of many classes
    """Return a step as it is read."""
    return read(f"{head}{LEAST}  - {text}\n{EXPECT}").steps[0]


def told(text: str) -> list[str]:
    """Return what is told of a text that is refused, line by line."""
    with pytest.raises(RuleFileError) as caught:
        read(text)
    return str(caught.value).splitlines()


def told_of_step(text: str, head: str = "") -> str:
    """Return the one thing that is told of a step."""
    [line] = told(f"{head}{LEAST}  - {text}\n{EXPECT}")
    return line
