"""``make bench ARGS="flows …"``: measure, print, keep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nfsnitch.lab.benching import __doc__ as what
from nfsnitch.lab.benching import page, rivals
from nfsnitch.lab.benching.amounts import FULL, QUICK
from nfsnitch.lab.benching.bars import bars
from nfsnitch.lab.benching.cases import NONE, all_cases
from nfsnitch.lab.benching.result import Result
from nfsnitch.lab.benching.rounds import run
from nfsnitch.lab.benching.tables import as_text, tables
from nfsnitch.lab.waiting import LabError

_TO_STDOUT = "-"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return 1 if a bar is missed, 2 if nothing can be measured."""
    options = _parser().parse_args(arguments)
    try:
        result = _result(options)
    except (LabError, OSError, ValueError) as problem:
        sys.stderr.write(f"bench flows: {problem}\n")
        return 2
    shown = sys.stderr if options.json == _TO_STDOUT else sys.stdout
    shown.write("\n\n".join(as_text(table) for table in tables(result)) + "\n")
    if options.json is not None:
        _keep(result, options.json)
    if options.write_docs:
        page.write(result)
    return 0 if options.quick or all(bar.is_kept for bar in bars(result)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench flows", description=what)
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"at most ({FULL.rounds})")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help=f"for the rounds ({FULL.budget_s:g})"
    )
    parser.add_argument(
        "--idle", type=float, metavar="SECONDS", help=f"to look at it idle ({FULL.idle_s:g})"
    )
    parser.add_argument(
        "--many-rules",
        type=int,
        metavar="N",
        help=f"so many are very many ({FULL.many_rules})",
    )
    parser.add_argument("--only", nargs="+", metavar="CASE", help="some contenders, by name")
    parser.add_argument("--rival", choices=rivals.RIVALS, help="measure that one as well")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="measure nothing")
    parser.add_argument("--json", metavar="FILE", help="keep the figures there; - to print them")
    parser.add_argument(
        "--write-docs", action="store_true", help="put them into docs/performance.md as well"
    )
    return parser


def _result(options: argparse.Namespace) -> Result:
    if options.source is not None:
        return Result.from_json(json.loads(options.source.read_text("utf-8")))
    amounts = QUICK if options.quick else FULL
    changes = {"rounds": options.rounds, "budget_s": options.budget, "idle_s": options.idle}
    changes["many_rules"] = options.many_rules
    amounts = replace(amounts, **{k: v for k, v in changes.items() if v is not None})
    cases = all_cases(amounts)
    if options.only:
        wanted = {NONE, *options.only}
        unknown = wanted - {case.name for case in cases}
        if unknown:
            names = ", ".join(case.name for case in cases)
            raise ValueError(f"no such contender: {', '.join(sorted(unknown))}; there are {names}")
        cases = [case for case in cases if case.name in wanted]
    if options.rival:
        cases.append(rivals.case(options.rival))
    return run(amounts, _tell, cases)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _keep(result: Result, place: str) -> None:
    text = json.dumps(result.as_json(), indent=1) + "\n"
    if place == _TO_STDOUT:
        sys.stdout.write(text)
    else:
        Path(place).write_text(text, "utf-8")
