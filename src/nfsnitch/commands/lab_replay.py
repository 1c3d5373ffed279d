"""``nfsnitch lab replay``: try rules on the flows of captures, or on recorded decisions."""

from __future__ import annotations

import argparse
import json
import sys
from ipaddress import ip_network
from pathlib import Path

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.commands.common_options import add_rules, rules_of
from nfsnitch.commands.table import table, table_columns
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.lab.replay.capture_files import is_capture
from nfsnitch.lab.replay.case import BadInputError
from nfsnitch.lab.replay.clients import Clients, Network, guessed
from nfsnitch.lab.replay.deciding import Deciding
from nfsnitch.lab.replay.loading import load
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.owners import Owners
from nfsnitch.lab.replay.replaying import Replay
from nfsnitch.lab.replay.report import document, headings, notes_lines, row_cells, summary
from nfsnitch.lab.replay.totals import MOST_ROWS, Totals
from nfsnitch.options import DEFAULT_STATE

DIFFERS, BAD_INPUT = 1, 2
"""Exit statuses."""
_HUGE = 10_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Have rules decide the flows of captures (pcap, pcapng), or recorded decisions anew, "
        "offline and without root. Exit status 1 if --against finds a difference, 2 if something "
        "cannot be read."
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="captures, and files of records"
    )
    add_rules(parser)
    parser.add_argument(
        "--against",
        action="extend",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="other rules: print only what they would decide otherwise",
    )
    parser.add_argument(
        "--client",
        action="extend",
        nargs="+",
        type=_network,
        metavar="ADDRESS",
        help="address (or network) of the machine whose flows these are, in captures "
        "(default: the senders of most first packets)",
    )
    parser.add_argument(
        "--owners",
        action="extend",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="records of the same time, which say whose the flows of captures are",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help="where a daemon keeps the lists that come from the network (default: %(default)s)",
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=MOST_ROWS,
        metavar="N",
        help="print so many rows at most; the counts are of all (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(command=replay)


def replay(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    try:
        return _replayed(options)
    except BadInputError as problem:
        sys.stderr.write(f"nfsnitch: {problem}\n")
        return BAD_INPUT


def _replayed(options: argparse.Namespace) -> int:
    notes = Notes()
    ruleset = load(rules_of(options), options.state, notes)
    against = load(options.against, options.state, notes) if options.against else None
    captures = [each for each in options.files if is_capture(each)]
    others = [each for each in options.files if each not in captures]
    totals = Totals(options.rows, only_differences=against is not None)
    deciding = [Deciding(each) for each in (ruleset, against) if each is not None]
    running = Replay(deciding, totals.add, notes)
    for each in others:
        running.records(each)
    clients = None
    if captures:
        clients = Clients(options.client) if options.client else guessed(captures)
        owners = Owners(options.owners, notes) if options.owners else None
        running.captures(captures, clients, owners)
    running.end()
    rules = (ruleset, against)
    if options.json:
        said = document(totals, notes, *rules, None if clients is None else str(clients))
        sys.stdout.write(f"{json.dumps(said, indent=2)}\n")
    else:
        _told_about_captures(options, clients)
        _print(totals, notes, *rules, has_before=bool(others))
    return DIFFERS if against is not None and totals.differing else 0


def _told_about_captures(options: argparse.Namespace, clients: Clients | None) -> None:
    if clients is None:
        return
    how = "--client" if options.client else "the senders of most first packets; else say --client"
    sys.stdout.write(f"this machine: {clients} ({how})\n")
    if not options.owners:
        sys.stdout.write(
            "owners: a capture does not say whose flows these are, so rules that ask for a program "
            "match none; --owners takes them from records\n"
        )
    sys.stdout.write("\n")


def _print(
    totals: Totals, notes: Notes, ruleset: Ruleset, against: Ruleset | None, *, has_before: bool
) -> None:
    write = sys.stdout.write
    rows = [row_cells(alike, seen, has_before=has_before) for alike, seen in totals.in_order()]
    if rows:
        above = headings(is_compared=against is not None, has_before=has_before)
        for line in table(above, rows, table_columns()):
            write(f"{line}\n")
        write("\n")
    for line in (*summary(totals, ruleset, against), *notes_lines(notes)):
        write(f"{line}\n")
    for line in notes.lines():
        sys.stderr.write(f"{line}\n")


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no address and no network") from None


def _rows(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) <= _HUGE:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: rows go from 1 to {_HUGE}")
    return int(text)
