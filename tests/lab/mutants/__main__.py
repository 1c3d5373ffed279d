"""``python -m lab.mutants``: shows that the corpus finds each fault out (``make mutants``)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from lab.mutants.catalogue import MUTANTS
from lab.mutants.mutant import Mutant
from lab.mutants.running import Judgement, all_scenarios, judge_all


def main(argv: Sequence[str]) -> int:
    """Judge the mutants that *argv* names, by default all; 1 if one survives."""
    options = _options(argv)
    unknown = [name for name in options.mutants if name not in MUTANTS]
    if unknown:
        sys.stderr.write(f"there is no mutant {unknown[0]}; --list names them\n")
        return 2
    mutants = [MUTANTS[name] for name in options.mutants or MUTANTS]
    if options.list:
        for each in mutants:
            sys.stdout.write(f"{each.name:<34} {each.fault}\n")
        return 0
    if options.check:
        return _checked(mutants)
    began_s = time.monotonic()
    others = all_scenarios() if options.all else []
    judgements = judge_all(mutants, options.jobs, others, _tell)
    survivors = [each for each in judgements if not each.caught_by]
    for survivor in survivors:
        fault = MUTANTS[survivor.mutant].fault
        sys.stdout.write(f"survived: {survivor.mutant} ({fault}); {survivor.how}\n")
    caught = len(judgements) - len(survivors)
    took_s = time.monotonic() - began_s
    sys.stdout.write(f"{caught} of {len(judgements)} mutants are caught, in {took_s:.1f} s\n")
    return 1 if survivors else 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make mutants",
        description="Put one fault after the other into the real daemon and play scenarios to it, "
        "until one fails. Exit status 1 if a fault is not found out.",
        allow_abbrev=False,
    )
    parser.add_argument("mutants", nargs="*", metavar="MUTANT", help="by default all")
    parser.add_argument("--list", action="store_true", help="name them, and end")
    parser.add_argument(
        "--check", action="store_true", help="only put the faults in, one after the other"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="play the whole corpus to those that the scenarios in the table do not find out",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at once"
    )
    return parser.parse_args(argv)


def _tell(judgement: Judgement) -> None:
    by = judgement.caught_by or "SURVIVED"
    sys.stdout.write(f"{judgement.mutant:<34} {by:<34} {judgement.seconds:6.1f} s\n")
    sys.stdout.flush()


def _checked(mutants: Sequence[Mutant]) -> int:
    """Put each fault into a process of its own; 1 if one has no place any more."""
    status = 0
    for each in mutants:
        child = os.fork()
        if not child:
            try:
                each.put_in()
            except Exception as error:  # noqa: BLE001  whatever it is, it is told
                sys.stderr.write(f"{each.name}: {error}\n")
                os._exit(1)
            os._exit(0)
        _, ended = os.waitpid(child, 0)
        status = status or os.waitstatus_to_exitcode(ended)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
