"""``nfsnitch check``: say whether rule files can be used, and what is likely not meant."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nfsnitch.adapters.rulefile import (
    Names,
    Problem,
    RuleFileError,
    RuleWarning,
    system_names,
)
from nfsnitch.adapters.rulefile.lint import Linted, lint
from nfsnitch.core.text import counted, shown


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check."""

    strict: bool = False
    """Whether warnings count as problems."""
    json: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Say what is wrong with rule files, taken together as run would, and warn of what is "
        "likely not meant."
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings, too")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or directory")
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    how = CheckOptions(strict=options.strict, json=options.json)
    return check(options.paths, system_names(), how, sys.stdout, sys.stderr)


def check(
    paths: Sequence[Path], names: Names, options: CheckOptions, out: TextIO, err: TextIO
) -> int:
    """Check the files at *paths* together, as ``run`` would use them; return the exit status."""
    problems: tuple[Problem, ...] = ()
    linted: Linted | None = None
    try:
        linted = lint(paths, names, time.time_ns())
    except RuleFileError as error:
        problems = error.problems
    if options.json:
        out.write(f"{json.dumps(_document(paths, linted, problems), indent=2)}\n")
    else:
        found = problems if linted is None else linted.warnings
        err.writelines(f"{each}\n" for each in found)
        if linted is not None:
            out.write(f"{_summary(paths, linted)}\n")
    return 1 if linted is None or (options.strict and linted.warnings) else 0


def _summary(paths: Sequence[Path], linted: Linted) -> str:
    files = ", ".join(shown(os.fspath(path)) for path in paths)
    parts = [counted(len(linted.ruleset.rules), "rule"), f"default {linted.ruleset.default}"]
    if linted.warnings:
        parts.append(counted(len(linted.warnings), "warning"))
    return f"{files}: {', '.join(parts)}"


def _document(
    paths: Sequence[Path], linted: Linted | None, problems: tuple[Problem, ...]
) -> dict[str, Any]:
    found = [*map(_problem, problems), *map(_warning, linted.warnings if linted else ())]
    return {
        "usable": linted is not None,
        "files": [shown(os.fspath(path)) for path in paths],
        "rules": None if linted is None else len(linted.ruleset.rules),
        "default": None if linted is None else linted.ruleset.default.value,
        "found": found,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return _found("error", "refused", problem)


def _warning(warning: RuleWarning) -> dict[str, Any]:
    return _found("warning", warning.code, warning)


def _found(severity: str, code: str, each: Problem | RuleWarning) -> dict[str, Any]:
    return {
        "severity": severity,
        "code": code,
        "file": each.position.file,
        "line": each.position.line,
        "column": each.position.column,
        "what": each.what,
        "why": each.why,
        "instead": each.instead,
    }
