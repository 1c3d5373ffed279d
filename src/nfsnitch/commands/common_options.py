"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.options import DEFAULT_QUEUE_NUM, DEFAULT_RULES

MAX_QUEUE_NUM = 65_535


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add ``--rules``; `rules_of` reads it."""
    parser.add_argument(
        "--rules",
        action="extend",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=f"rule file or directory of them; may be repeated (default: {DEFAULT_RULES})",
    )


def rules_of(options: argparse.Namespace) -> tuple[Path, ...]:
    """Return where the rules are."""
    return tuple(options.rules or (DEFAULT_RULES,))


def add_queue(parser: argparse.ArgumentParser) -> None:
    """Add ``--queue``."""
    parser.add_argument(
        "--queue",
        type=_queue_num,
        default=DEFAULT_QUEUE_NUM,
        metavar="N",
        help="NFQUEUE number (default: %(default)s)",
    )


def add_forward(parser: argparse.ArgumentParser) -> None:
    """Add ``--forward``."""
    parser.add_argument(
        "--forward",
        action="store_true",
        help="judge what is forwarded, too: containers and others that this machine routes for",
    )


def _queue_num(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > MAX_QUEUE_NUM:
        reason = f"queues go from 0 to {MAX_QUEUE_NUM}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return int(text)
