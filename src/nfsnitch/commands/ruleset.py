"""``nfsnitch ruleset``: the rules that queue, in force without a daemon, removed, or shown.

For the time before the daemon runs: with `fail: closed` nothing new leaves until it takes over,
which it does without a gap. A rule file that cannot be read must not leave the machine open, so the
ruleset is loaded with the default settings then, and the exit status tells.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from nfsnitch.adapters import netns
from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.instance import AlreadyRunningError, InstanceLock
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.adapters.rulefile import Names, RuleFileError, load, system_names
from nfsnitch.commands.common_options import add_forward, add_queue, add_rules, rules_of
from nfsnitch.core.ruleset import Ruleset

REFUSED = 1
"""Exit status: nothing was changed."""
LOADED_WITH_DEFAULTS = 3
"""Exit status: the ruleset is in force, but with default settings, for the rule files are bad."""


class Wish(StrEnum):
    """What is to be done."""

    LOAD = "load"
    REMOVE = "remove"
    SHOW = "show"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Put the ruleset in force without a daemon (at boot, before the network is up), remove it, "
        "or show it. With 'fail: closed' nothing new leaves until the daemon takes over. Exit "
        f"status {LOADED_WITH_DEFAULTS} of load: in force with default settings, for the rule "
        "files are bad."
    )
    parser.add_argument("wish", choices=[wish.value for wish in Wish], help="what to do")
    add_rules(parser)
    add_forward(parser)
    add_queue(parser)
    parser.set_defaults(command=_ruleset)


def _ruleset(options: argparse.Namespace) -> int:
    wish, paths = Wish(options.wish), rules_of(options)
    return ruleset(wish, paths, options.queue, system_names(), forward=options.forward)


def ruleset(
    wish: Wish,
    paths: Sequence[Path],
    queue_num: int,
    names: Names,
    out: TextIO = sys.stdout,
    *,
    forward: bool = False,
) -> int:
    """Do what is wished, in the present network namespace; return the exit status."""
    rules, status = _rules(paths, names) if wish is not Wish.REMOVE else (Ruleset(), 0)
    how = (queue_num, rules.settings)
    enforcement = Enforcement(*how, forward=forward, seeing=rules.seeing)
    try:
        if wish is Wish.SHOW:
            out.write(enforcement.text())
            return REFUSED if status else 0
        _under_lock(wish, enforcement)
    except AlreadyRunningError as problem:
        if wish is Wish.LOAD and not status and enforcement.is_in_force():
            return 0
        sys.stderr.write(f"nfsnitch: {problem}\n")
        return REFUSED
    except (EnforcementError, OSError) as problem:
        sys.stderr.write(f"nfsnitch: ruleset {wish}: {problem}\n")
        return REFUSED
    return status


def _under_lock(wish: Wish, enforcement: Enforcement) -> None:
    namespace = netns.inode()
    lock = InstanceLock(namespace)
    try:
        if wish is Wish.REMOVE:
            enforcement.remove()
            return
        if not enforcement.is_installed():
            with closing(Ledger(namespace)) as ledger:
                ledger.clear()
        enforcement.install()
    finally:
        lock.release()


def _rules(paths: Sequence[Path], names: Names) -> tuple[Ruleset, int]:
    """Return the rules of the files, or none where they are bad, and the exit status."""
    try:
        return load(paths, names), 0
    except RuleFileError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.write("nfsnitch: the default settings are used instead (fail: closed)\n")
        return Ruleset(), LOADED_WITH_DEFAULTS
