"""Reading rule files as the daemon does: large ones in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nfsnitch.adapters.rulefile.files import read_raw
from nfsnitch.adapters.rulefile.loader import load_files
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Problems, RuleWarning
from nfsnitch.core.ruleset import Ruleset

LARGE_BYTES = 262_144
"""Files of so many are read in a process of their own."""


class ReadingError(Exception):
    """That process could not do it; the message says why."""


def load_apart(
    paths: Sequence[Path], names: Names, warned: Callable[[RuleWarning | str], None]
) -> Ruleset:
    """Do what `loader.load` does, in a process of its own if there is much to read.

    Raises:
        RuleFileError: something is wrong with any of the files; its problems are not told one by
            one where the other process has found them.
        ReadingError: that process could not do it.

    """
    problems = Problems()
    files = read_raw(paths, problems)
    if sum(len(file.content) for file in files) < LARGE_BYTES:
        return load_files(files, names, problems, warned)
    # What it takes to have that process is memory, and most have no such files.
    from nfsnitch.adapters.rulefile.reading_process import read_apart  # noqa: PLC0415

    return read_apart(files, problems.found, names, warned)
