"""``python -m lab.inventing``: invents rules and flows, and tells what the firewall does wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.inventing.running import new_seed, search
from nfsnitch.lab.scenario.playing import Manner, Player


def main(argv: Sequence[str]) -> int:
    """Play examples; 1 if something does not hold."""
    options = _options(argv)
    number = new_seed() if options.seed is None else options.seed
    sys.stdout.write(f"seed {number}\n")

    def tell(line: str) -> None:
        if options.verbose:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    began_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as captures,
        Player(Manner(keep=Path(captures))) as player,
    ):
        found = search(player, number, options.examples, tell)
    took_s = time.monotonic() - began_s
    if found is None:
        sys.stdout.write(f"{options.examples} examples hold, in {took_s:.1f} s\n")
        return 0
    path = found.write(options.out, number)
    sys.stdout.write(f"{found.why}\n\nnfsnitch lab run {path}\n")
    return 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make invent",
        description="Invent rules, programs and what they send, play them to the firewall, and "
        "look whether it keeps its word. What fails is brought down to the least and written as a "
        "scenario. Exit status 1 then.",
        allow_abbrev=False,
    )
    parser.add_argument("--seed", type=int, help="what decides the examples (default: chance)")
    parser.add_argument("--examples", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument(
        "--out", type=Path, default=Path(".cache/invented"), help="where a scenario is put"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each example")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
