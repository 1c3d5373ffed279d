"""``nfsnitch import``: rules of other firewalls and hosts files as a rule file of ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from nfsnitch.adapters.rulefile import RuleFileError, load, system_names
from nfsnitch.commands.exchange_files import (
    MAX_ALL_BYTES,
    FileError,
    check_new,
    json_files,
    list_files,
    read_text,
    write_text,
)
from nfsnitch.exchange.draft import FileDraft
from nfsnitch.exchange.hosts_import import import_hosts
from nfsnitch.exchange.lsrules_import import import_lsrules
from nfsnitch.exchange.opensnitch_import import Source, import_opensnitch
from nfsnitch.exchange.ours import file_draft
from nfsnitch.exchange.report import ImportFailedError, Report

UNSAID, UNREADABLE = 1, 2
"""Exit statuses: something could not be said; nothing could be read."""

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no other name
_Importer: TypeAlias = Callable[[argparse.Namespace, Report], FileDraft]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Write the rules of another firewall as a rule file. What cannot be said is reported, and "
        "nothing is dropped in silence. Exit status 1 if anything could not be said, 2 if nothing "
        "could be read."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_opensnitch(commands)
    _add_lsrules(commands)
    _add_hosts(commands)
    _add_json(commands)


def _add_opensnitch(commands: _Commands) -> None:
    text = "Write OpenSnitch's rules as a rule file: the same connections are decided alike."
    parser = _add(commands, "opensnitch", "rules of OpenSnitch", text, _import_opensnitch)
    parser.add_argument(
        "path",
        type=Path,
        metavar="DIR",
        help="folder of rules, mostly /etc/opensnitchd/rules; or one file",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="its default-config.json, for the default action",
    )
    parser.add_argument("--aliases", type=Path, metavar="FILE", help="its network_aliases.json")


def _add_lsrules(commands: _Commands) -> None:
    text = "Write a group of Little Snitch's rules as a rule file, the more specific rules first."
    parser = _add(commands, "lsrules", "a .lsrules file of Little Snitch", text, _import_lsrules)
    parser.add_argument("path", type=Path, metavar="FILE", help="the .lsrules file")


def _add_hosts(commands: _Commands) -> None:
    text = "Write a rule file that refuses the names in a hosts file, which becomes a list of it."
    parser = _add(commands, "hosts", "a hosts file, as a list", text, _import_hosts)
    parser.add_argument("path", type=Path, metavar="FILE", help="the hosts file; it stays in use")
    parser.add_argument(
        "--action",
        choices=["reject", "deny"],
        default="reject",
        help="what becomes of connections to these names (default: %(default)s)",
    )


def _add_json(commands: _Commands) -> None:
    text = "Write a rule file of what nfsnitch export json has written, or of any rule files."
    parser = _add(commands, "json", "what export json has written", text, _import_json)
    parser.add_argument("path", type=Path, metavar="FILE", help="the JSON file")


def _add(
    commands: _Commands, name: str, purpose: str, description: str, importer: _Importer
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=description, allow_abbrev=False)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write there (default: standard output)"
    )
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument(
        "--strict", action="store_true", help="write nothing if anything cannot be said"
    )
    parser.set_defaults(command=lambda options: _run(options, importer))
    return parser


def _run(options: argparse.Namespace, importer: _Importer) -> int:
    report = Report()
    try:
        check_new(options.output, force=options.force)
        draft = importer(options, report)
        fails = options.strict and report.unsaid
        if not fails:
            _write(options.output, draft.text())
    except (FileError, ImportFailedError, RuleFileError) as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE
    done = "could be imported; nothing is written (--strict)" if fails else "imported"
    sys.stderr.writelines(f"{line}\n" for line in report.lines(len(draft.rules), done))
    return UNSAID if report.unsaid else 0


def _write(output: Path | None, text: str) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)


def _import_opensnitch(options: argparse.Namespace, report: Report) -> FileDraft:
    path: Path = options.path
    files = json_files(path) if path.is_dir() else [path]
    texts: list[tuple[str, str]] = []
    total = 0
    for file in files:
        try:
            text = read_text(file)
        except FileError as error:
            if len(files) == 1:
                raise
            report.left_out(os.fspath(file), None, str(error))
            continue
        total += len(text)
        if total > MAX_ALL_BYTES:
            raise FileError(f"the files have more than {MAX_ALL_BYTES >> 20} MiB together")
        texts.append((os.fspath(file), text))
    source = Source(os.fspath(path), texts, _named(options.config), _named(options.aliases))
    return import_opensnitch(source, list_files, system_names(), report)


def _import_lsrules(options: argparse.Namespace, report: Report) -> FileDraft:
    file, text = os.fspath(options.path), read_text(options.path)
    return import_lsrules(file, text, system_names(), report)


def _import_hosts(options: argparse.Namespace, report: Report) -> FileDraft:
    text = read_text(options.path)
    return import_hosts(os.fspath(options.path.absolute()), text, options.action, report)


def _import_json(options: argparse.Namespace, report: Report) -> FileDraft:
    ruleset = load([options.path], system_names())
    return file_draft(ruleset, f"Imported from {os.fspath(options.path)}", report)


def _named(path: Path | None) -> tuple[str, str] | None:
    return None if path is None else (os.fspath(path), read_text(path))
