"""What rule files say that is likely not meant: warnings, all in the order of the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.rulefile.lint_files import (
    not_read_warnings,
    path_warnings,
    rule_file_warnings,
)
from nfsnitch.adapters.rulefile.lint_order import order_warnings
from nfsnitch.adapters.rulefile.lint_width import setting_warnings, width_warnings
from nfsnitch.adapters.rulefile.loader import load
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.outline import PlacedRule, outline
from nfsnitch.adapters.rulefile.problems import RuleWarning
from nfsnitch.core.ruleset import Ruleset


class Linted(NamedTuple):
    """Rule files that can be used, and what to think of."""

    ruleset: Ruleset
    warnings: tuple[RuleWarning, ...]
    """Sorted by their positions."""


def lint(paths: Sequence[Path], names: Names, now_ns: int) -> Linted:
    """Load the files at *paths* together and look for what is likely not meant.

    *now_ns* is the time in ns since 1970 UTC.

    Raises:
        RuleFileError: something is wrong with any of the files.

    """
    found: list[RuleWarning] = []
    ruleset = load(paths, names, found.append)
    written = outline(paths)
    by_name = {rule.name: rule for rule in ruleset.rules}
    placed = [
        PlacedRule(each, by_name[each.name]) for each in written.rules if each.name in by_name
    ]
    placed = [each for each in placed if each.rule.enabled]  # the others were put aside on purpose
    found += not_read_warnings(paths)
    found += setting_warnings(written)
    found += order_warnings(placed, now_ns)
    found += width_warnings(placed)
    found += path_warnings(placed)
    found += rule_file_warnings(paths)
    return Linted(ruleset, tuple(sorted(set(found))))
