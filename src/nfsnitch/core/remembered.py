"""What the rules have said of a program and a destination, for the next connection there.

Most connections differ from an earlier one in nothing but their own port. Where no rule looks at
that, nor at the clock, nor at anything else that may become another while the rules stay the same,
the rules need not be walked through again.
"""

from __future__ import annotations

from nfsnitch.core.case import Case
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import Names
from nfsnitch.core.owner import NOT_FORWARDED, Finding, Owner, Process
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.unknown import Unknown

MOST = 256
"""Each may be a program's that has ended, of which a few KB are kept for it."""

_Key = tuple[int, bytes, bytes, int | Unknown, int, str | Unknown, str | Unknown | None, Names]
"""The owner's `id`; source and destination, port, protocol, interfaces, names: all that the
conditions below may look at."""


class RememberedRulings:
    """Says what a ruleset says; of a bounded number of cases without asking it again."""

    def __init__(self, ruleset: Ruleset) -> None:
        """Remember what *ruleset* says, if it always says the same."""
        self._ruleset = ruleset
        self.remembers = ruleset.says_the_same_again
        """Whether anything is remembered at all."""
        self._known: dict[_Key, tuple[Owner, Ruling]] = {}
        """With the owner, so that no other object gets its `id`."""

    @property
    def size(self) -> int:
        """How many cases are remembered."""
        return len(self._known)

    def ruling(self, case: Case) -> Ruling:
        """Return what `Ruleset.rule_on` does."""
        owner = case.owner
        if not self.remembers or type(owner) is not Process or owner.identity.ticket is not None:
            return self._ruleset.rule_on(case)
        key = _key(case.flow, owner, case.iface, case.iface_in, case.names)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        ruling = self._ruleset.rule_on(case)
        if len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[key] = owner, ruling
        return ruling

    def known(self, flow: Flow, found: Finding, iface: str | Unknown) -> Ruling | None:
        """Return what was said before of the owner in *found*; None: `ruling` must be asked."""
        known = self._known.get(_key(flow, found.owner, iface, found.iface_in, found.names))
        return None if known is None else known[1]


def _key(
    flow: Flow, owner: Owner, iface: str | Unknown, iface_in: str | Unknown, names: Names
) -> _Key:
    proto, saddr, daddr, dport = flow.proto, flow.saddr, flow.daddr, flow.dport
    came_in = None if iface_in is NOT_FORWARDED else iface_in  # which is much slower to hash
    return id(owner), saddr, daddr, dport, proto, iface, came_in, names
