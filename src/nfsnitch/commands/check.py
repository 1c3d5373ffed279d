"""``nfsnitch check``: say whether rule files can be used."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from nfsnitch.adapters.rulefile import Names, RuleFileError, load, notices
from nfsnitch.core.text import shown


def check(paths: Sequence[Path], names: Names, out: TextIO, err: TextIO) -> int:
    """Check the files at *paths* together, as ``run`` would use them; return the exit status.

    What is right but may not be meant goes to *err*, too, and is no mistake.
    """
    try:
        ruleset = load(paths, names)
    except RuleFileError as error:
        err.write(f"{error}\n")
        return 1
    err.writelines(f"{notice}\n" for notice in notices(paths, ruleset, time.time_ns()))
    files = ", ".join(shown(os.fspath(path)) for path in paths)
    count = len(ruleset.rules)
    rules = "1 rule" if count == 1 else f"{count} rules"
    out.write(f"{files}: {rules}, default {ruleset.default}\n")
    return 0
