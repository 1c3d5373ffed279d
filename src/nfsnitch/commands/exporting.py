"""``nfsnitch export``: the rules in files of ours as rules of other firewalls, or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from nfsnitch.adapters.rulefile import RuleFileError, load, system_names
from nfsnitch.commands.exchange_files import FileError, check_new, make_folder, write_text
from nfsnitch.commands.importing import UNREADABLE, UNSAID
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import shown
from nfsnitch.exchange.lsrules_export import export_lsrules
from nfsnitch.exchange.opensnitch_export import export_opensnitch
from nfsnitch.exchange.ours import file_draft
from nfsnitch.exchange.report import Report
from nfsnitch.options import DEFAULT_RULES

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no other name
_Exporter: TypeAlias = Callable[[Ruleset, Sequence[Path], Report], Any]
_UNSEEN = re.compile(r"[^\x20-\x7e\n]")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Write rules for another firewall, or as JSON. What it cannot say is reported, and nothing "
        "goes out there that is refused here. Exit status 1 if anything could not be said, 2 if "
        "the rules could not be read."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "Write rules as OpenSnitch's: one file each in a folder, or all as one JSON list."
    _add(commands, "opensnitch", "rules of OpenSnitch", text, _opensnitch, "DIR")
    text = "Write rules as a .lsrules file of Little Snitch."
    _add(commands, "lsrules", "a .lsrules file of Little Snitch", text, _lsrules, "FILE")
    text = (
        "Write rules as JSON of the shape that rule files have, whole: groups and names are "
        "written out. nfsnitch schema describes it, and nfsnitch reads it as a rule file."
    )
    _add(commands, "json", "JSON of the shape of rule files", text, _json, "FILE")


def _add(
    commands: _Commands,
    name: str,
    purpose: str,
    description: str,
    exporter: _Exporter,
    output: str,
) -> None:
    parser = commands.add_parser(name, help=purpose, description=description, allow_abbrev=False)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="RULES",
        help=f"rule file or directory of them (default: {DEFAULT_RULES})",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar=output, help="write there (default: standard output)"
    )
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument(
        "--strict", action="store_true", help="write nothing if anything cannot be said"
    )
    parser.set_defaults(command=lambda options: _run(options, exporter))


def _run(options: argparse.Namespace, exporter: _Exporter) -> int:
    report = Report()
    paths = options.paths or [DEFAULT_RULES]
    try:
        check_new(options.output, force=options.force)
        ruleset = load(paths, system_names())
        found = exporter(ruleset, paths, report)
        fails = options.strict and report.unsaid
        if not fails:
            _write(options.output, found)
    except (FileError, RuleFileError) as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE
    done = "could be exported; nothing is written (--strict)" if fails else "exported"
    number = len(found if isinstance(found, list) else found["rules"])
    sys.stderr.writelines(f"{line}\n" for line in report.lines(number, done))
    return UNSAID if report.unsaid else 0


def _write(output: Path | None, found: Any) -> None:  # noqa: ANN401  JSON of any shape
    if output is None:
        sys.stdout.write(_text(found))
    elif isinstance(found, list):
        make_folder(output)
        for rule in found:
            write_text(output / f"{rule['name']}.json", _text(rule))
    else:
        write_text(output, _text(found))


def _text(found: Any) -> str:  # noqa: ANN401  JSON of any shape
    """Return JSON in which nothing hides: what cannot be seen is written as an escape."""
    text = json.dumps(found, indent=2, ensure_ascii=False)
    return f"{_UNSEEN.sub(_seen, text)}\n"


def _seen(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _opensnitch(ruleset: Ruleset, paths: Sequence[Path], report: Report) -> list[dict[str, Any]]:
    del paths
    return export_opensnitch(ruleset, report)


def _lsrules(ruleset: Ruleset, paths: Sequence[Path], report: Report) -> dict[str, Any]:
    return export_lsrules(ruleset, f"nfsnitch {_named(paths)}", report)


def _json(ruleset: Ruleset, paths: Sequence[Path], report: Report) -> dict[str, Any]:
    return file_draft(ruleset, _named(paths), report).document()


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(shown(os.fspath(path)) for path in paths)
