"""``nfsnitch lab run``: plays scenarios."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfsnitch.commands.asking import INTERRUPTED, say, write_line
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.text import shown

if TYPE_CHECKING:
    from nfsnitch.lab.scenario.model import Scenario
    from nfsnitch.lab.scenario.outcomes import Outcome
    from nfsnitch.lab.scenario.playing import Manner

BAD_FILES = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Build the networks that scenario files describe, with the real firewall in them, play the "
        "scenarios, and take everything down again (root only). Exit status 1 if one fails, 2 if "
        "a file is wrong; those that need what this machine has not are skipped."
    )
    parser.add_argument(
        "scenarios",
        nargs="+",
        type=Path,
        metavar="SCENARIO",
        help="file, or folder of *.yaml files",
    )
    parser.add_argument(
        "--jobs", type=_jobs, default=1, metavar="N", help="so many processes at once (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="the outcomes as JSON")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write them as JUnit XML, too")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where captures of what fails are put"
    )
    parser.add_argument(
        "--attach",
        choices=[each.value for each in AttachMode],
        help="attach mode of the firewall (default: the best there is)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="build a network for each, in the place of sharing it"
    )
    parser.add_argument("--list", action="store_true", help="say what the scenarios show, and end")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Play scenarios and print how they went; return the exit status."""
    if lacks_scapy():
        return 1
    from nfsnitch.lab.scenario.playing import Manner  # noqa: PLC0415  only the lab has scapy

    files = list(_files(options.scenarios))
    scenarios = loaded(files)
    if scenarios is None:
        return BAD_FILES
    if options.list:
        for each in scenarios:
            write_line(f"{shown(each.file)}: {shown(each.shows)}")
        return 0
    if os.geteuid():
        say("the lab makes network namespaces: it needs root")
        return 1
    attach = None if options.attach is None else AttachMode(options.attach)
    keep = None if options.keep is None else options.keep.absolute()
    return _play(scenarios, Manner(attach, keep, options.fresh), options)


def _play(scenarios: Sequence[Scenario], manner: Manner, options: argparse.Namespace) -> int:
    from nfsnitch.lab.scenario import jobs, reports  # noqa: PLC0415  see above

    outcomes: list[Outcome] = []
    began_s = time.monotonic()

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if not options.json:
            for line in reports.outcome_lines(outcome):
                write_line(line)

    status = None
    try:
        outcomes = jobs.play(scenarios, manner, options.jobs, tell)
    except KeyboardInterrupt:
        say("interrupted; everything has been taken down")
        status = INTERRUPTED
    seconds = time.monotonic() - began_s
    if options.json:
        write_line(reports.as_json(outcomes, seconds))
    else:
        write_line(reports.summary(outcomes, seconds))
    if options.junit is not None:
        try:
            options.junit.write_bytes(reports.as_junit(outcomes, seconds))
        except OSError as error:
            say(f"{shown(str(options.junit))}: {error.strerror}")
            return 1
    return reports.exit_status(outcomes) if status is None else status


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*.yaml") if each.is_file())
        else:
            yield path


def lacks_scapy() -> bool:
    """Tell whether scapy is missing, which only the lab needs, and say so."""
    if importlib.util.find_spec("scapy") is not None:
        return False
    say("the lab needs scapy: pip install 'nfsnitch[lab]'")
    return True


def loaded(files: Sequence[Path]) -> list[Scenario] | None:
    """Return what is in *files*; None, and all that is wrong is told, if that cannot be."""
    from nfsnitch.adapters.rulefile.problems import RuleFileError  # noqa: PLC0415  see above
    from nfsnitch.lab.scenario.reading import load  # noqa: PLC0415

    scenarios: list[Scenario] = []
    problems = 0
    for file in files:
        try:
            scenarios.append(load(file))
        except RuleFileError as error:
            problems += 1
            for problem in error.problems:
                sys.stderr.write(f"{problem}\n")
    if not files:
        say("there is no scenario in these folders")
    return scenarios if files and not problems else None


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 64:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"'{shown(text)}': it is a number from 1 to 64")
    return int(text)
