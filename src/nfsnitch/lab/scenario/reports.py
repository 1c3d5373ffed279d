"""How scenarios went, told to people and to programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from xml.etree import ElementTree as ET

from nfsnitch.core.text import shown
from nfsnitch.lab.scenario.outcomes import Failure, Outcome, Result

_WIDTH = 7
_XML_FORBIDDEN = {number: None for number in range(32) if chr(number) not in "\t\n"}


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """Yield one line of the table, and below it what failed, why it was skipped."""
    yield f"{outcome.result:<{_WIDTH}} {outcome.seconds:7.2f} s  {shown(outcome.file)}"
    indent = " " * (_WIDTH + 1)
    if outcome.why:
        yield from (f"{indent}{printable(line)}" for line in outcome.why.splitlines())
    if outcome.failures:
        yield f"{indent}shows     {shown(outcome.shows)}"
    for failure in outcome.failures:
        yield from _failure_lines(failure, indent)
    if outcome.folder:
        yield f"{indent}folder    {outcome.folder}"


def printable(line: str) -> str:
    """Return a line fit to be shown; one that is so already stays as it is."""
    return line if line.isprintable() else shown(line)


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the last line: how many went how."""
    numbers = Counter(each.result for each in outcomes)
    told = ", ".join(f"{numbers[result]} {result}" for result in Result if numbers[result])
    return f"{told or 'no scenario was played'} in {seconds:.1f} s"


def as_json(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return everything as JSON."""
    numbers = Counter(each.result for each in outcomes)
    content = {
        "seconds": round(seconds, 3),
        **{result.value: numbers[result] for result in Result},
        "scenarios": [asdict(each) for each in outcomes],
    }
    return json.dumps(content, indent=2)


def as_junit(outcomes: Sequence[Outcome], seconds: float) -> bytes:
    """Return everything as JUnit XML, as continuous integration reads it."""
    numbers = Counter(each.result for each in outcomes)
    attributes = {
        "name": "nfsnitch lab",
        "tests": str(len(outcomes)),
        "failures": str(numbers[Result.FAILED]),
        "errors": str(numbers[Result.BROKEN]),
        "skipped": str(numbers[Result.SKIPPED]),
        "time": f"{seconds:.3f}",
    }
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", attributes)
    for outcome in outcomes:
        _add_case(suite, outcome)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if none failed, else 1."""
    bad = {Result.FAILED, Result.BROKEN}
    return int(any(each.result in bad for each in outcomes))


def _failure_lines(failure: Failure, indent: str) -> Iterator[str]:
    yield f"{indent}at        {shown(failure.place)}: {failure.step}"
    for word, text in (("expected", failure.expected), ("seen", failure.seen)):
        first, *rest = map(printable, text.splitlines() or [""])
        yield f"{indent}{word:<9} {first}"
        yield from (f"{indent}{'':<9} {line}" for line in rest)


def _add_case(suite: ET.Element, outcome: Outcome) -> None:
    attributes = {
        "classname": "lab",
        "name": shown(outcome.file),
        "file": shown(outcome.file),
        "time": f"{outcome.seconds:.3f}",
    }
    case = ET.SubElement(suite, "testcase", attributes)
    if outcome.result is Result.SKIPPED:
        ET.SubElement(case, "skipped", {"message": _plain(outcome.why)})
    kind = "error" if outcome.result is Result.BROKEN else "failure"
    for failure in outcome.failures:
        message = {"message": _plain(f"expected {failure.expected}")}
        element = ET.SubElement(case, kind, message)
        told = (
            f"{failure.place}: {failure.step}\nexpected: {failure.expected}\nseen: {failure.seen}"
        )
        element.text = _plain(f"{told}\nfolder: {outcome.folder}")


def _plain(text: str) -> str:
    return text.translate(_XML_FORBIDDEN)
