"""Is a daemon with a fault: ``launcher.py MUTANT run …`` puts it in, and does as nfsnitch would."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> int:
    """Put the fault of that name in and become the program; the rest is its arguments."""
    # In the place of this folder, whose modules are called as some of others are.
    sys.path[0] = str(_TESTS)
    from lab.mutants.catalogue import MUTANTS  # noqa: PLC0415  found from here on
    from nfsnitch import cli  # noqa: PLC0415  the same

    MUTANTS[argv[0]].put_in()
    return cli.main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
