"""What is known of one list's source, and when it is looked at again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from nfsnitch.adapters.lists.messages import Progress
from nfsnitch.adapters.lists.shelf import Key, Shelved, Stamp
from nfsnitch.core.listing import NamedList
from nfsnitch.lists.compiled import CompiledContent, Content

_FIRST_RETRY_S = 60.0
_MOST_DOUBLINGS = 12
_JITTER = 0.05
"""Not all machines are to ask at once."""


@dataclass(slots=True)
class Source:
    """One text from one place, under however many names."""

    key: Key
    lists: list[NamedList] = field(default_factory=list)
    content: Content | None = None
    inode: int | None = None
    """Of the compiled form that is mapped."""
    stamp: Stamp | None = None
    """Of the local file as it was compiled last."""
    checked_ns: int | None = None
    """When it was last known to be up to date, in ns since 1970."""
    problem: str | None = None
    """Why it could not be brought up to date the last time."""
    failures: int = 0
    """One after the other, until now."""
    due_s: float = 0.0
    """When it is looked at again, by the loop's clock."""
    progress: Progress | None = None
    """How far the work on it is; None: nobody works on it."""
    is_wanted: bool = False
    """Somebody has asked for what there is now."""
    wanted_anyway: bool = False
    """However little that may be."""

    @property
    def refresh_s(self) -> float:
        """How often it is looked whether there is a newer one."""
        return min((each.definition.refresh_s for each in self.lists), default=86_400)

    @property
    def is_settled(self) -> bool:
        """Whether time alone changes nothing.

        A local file is looked at all the time; of what goes by its hash, nothing else is taken.
        """
        if self.content is None or self.failures:
            return False
        return not self.key.is_url or self.key.sha256 is not None

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to look at it again."""
        return self.is_wanted or (now_s >= self.due_s and not self.is_settled)

    def take(self, shelved: Shelved) -> None:
        """Use a compiled form under all names."""
        self.content, self.inode = shelved.content, shelved.inode
        self.checked_ns = shelved.checked_ns
        for each in self.lists:
            each.content = CompiledContent(each.definition.name, shelved.content)

    def give(self, named: NamedList) -> None:
        """Give what there is to one more list."""
        if named not in self.lists:
            self.lists.append(named)
        if self.content is not None:
            named.content = CompiledContent(named.definition.name, self.content)

    def plan_first(self, now_s: float) -> None:
        """Plan when it is looked at, given what was kept from before."""
        if self.content is None or self.checked_ns is None:
            self.due_s = now_s
            return
        age_s = (time.time_ns() - self.checked_ns) / 1e9
        # A clock that was set back is no reason to wait for long.
        self.due_s = now_s + max(0.0, min(self.refresh_s, self.refresh_s - age_s))

    def succeeded(self, now_s: float, checked_ns: int) -> None:
        """Note that it is up to date."""
        self.problem, self.failures, self.checked_ns = None, 0, checked_ns
        self.due_s = now_s + _jittered(self.refresh_s)

    def failed(self, now_s: float, why: str) -> None:
        """Note that it could not be brought up to date; the longer that lasts, the longer wait."""
        self.problem = why
        wait_s = _FIRST_RETRY_S * 2 ** min(self.failures, _MOST_DOUBLINGS)
        self.failures += 1
        self.due_s = now_s + _jittered(min(wait_s, self.refresh_s))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  nothing secret
