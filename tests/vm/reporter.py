"""A pytest plugin for the guests: tells the host of each test as soon as it is over.

One line of JSON for each test in the file that NFSNITCH_RESULTS names, which the host reads while
the guest goes on: what a guest has done before it died is not lost.
"""

from __future__ import annotations

import json
import os
import sys

import pytest

_BAD = {"failed": 2, "skipped": 1, "passed": 0}


class _Reporter:
    """Puts the phases of a test (set-up, call, tear-down) together."""

    def __init__(self, path: str, mode: str) -> None:
        self._path = path
        self._mode = mode
        self._outcome = "passed"
        self._text = ""
        self._seconds = 0.0
        self._properties: list[tuple[str, object]] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        print(nodeid, file=sys.stderr, flush=True)  # noqa: T201  the host shows it if we die
        self._outcome, self._text, self._seconds = "passed", "", 0.0
        self._properties = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds += report.duration
        self._properties = report.user_properties  # all of them, at each phase
        outcome = "passed" if hasattr(report, "wasxfail") else report.outcome
        if _BAD[outcome] > _BAD[self._outcome]:
            self._outcome = outcome
        if outcome != "passed":
            sections = "\n".join(f"--- {name}\n{text}" for name, text in report.sections)
            self._text += f"{report.when}: {report.longreprtext}\n{sections}\n"

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.write(nodeid, self._outcome, self._text)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write("collection", "failed", report.longreprtext)

    def write(self, nodeid: str, outcome: str, text: str) -> None:
        """Append one line."""
        result = {
            "mode": self._mode,
            "nodeid": nodeid,
            "outcome": outcome,
            "text": text,
            "seconds": round(self._seconds, 1),
            "properties": self._properties,
        }
        with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123  one line, one write
            file.write(json.dumps(result) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Start reporting, in a guest."""
    reporter = _Reporter(os.environ["NFSNITCH_RESULTS"], os.environ["NFSNITCH_GUEST_MODE"])
    config.pluginmanager.register(reporter)
