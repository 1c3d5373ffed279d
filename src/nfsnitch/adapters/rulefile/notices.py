"""What is right with rule files and may not be meant all the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters.rulefile.files import ignored_files
from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.rule import Rule, Ruleset
from nfsnitch.core.text import shown

_NS_PER_S = 10**9


class Notice(NamedTuple):
    """One thing that a person should know, fit to be shown."""

    place: str
    what: str
    why: str
    instead: str

    def __str__(self) -> str:
        """Return the notice as one line: where, what, why, what to do instead."""
        return f"{self.place}: {self.what}: {self.why}; {self.instead}"


def notices(paths: Sequence[Path], ruleset: Ruleset, now_ns: int) -> Iterator[Notice]:
    """Yield what to know of the rules read from *paths*, at *now_ns* (since 1970 UTC)."""
    yield from _ignored(paths)
    for rule in ruleset.rules:
        yield from _out_of_force(rule, now_ns)


def _ignored(paths: Iterable[Path]) -> Iterator[Notice]:
    for path in ignored_files(paths):
        why = "of a directory only the files *.yaml are read, without those that begin with a dot"
        instead = "name it on the command line or rename it if it was meant"
        yield Notice(shown(os.fspath(path)), "not read", why, instead)


def _out_of_force(rule: Rule, now_ns: int) -> Iterator[Notice]:
    what = f"rule {quoted(rule.name)}"
    if not rule.enabled:
        yield Notice(rule.origin, what, "enabled: false", "remove that to put it in force")
    if rule.expires_ns is not None and rule.expires_ns <= now_ns:
        ended = datetime.fromtimestamp(rule.expires_ns // _NS_PER_S, UTC)
        why = f"it expired at {ended:%Y-%m-%dT%H:%M:%SZ} and matches nothing"
        yield Notice(rule.origin, what, why, "remove the rule or write another date")
