"""Conditions on the name of the host, and on lists of names and networks.

Whether they hold may be impossible to tell: no name is known, or several are and not all of them
match. Such a condition holds neither as it stands nor under ``not:``; what becomes of the flow then
is said by the rule's ``on_unknown_name`` (`core.rule`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import read_daddr
from nfsnitch.core.listing import Entry, NamedList
from nfsnitch.core.name import Names
from nfsnitch.core.unknown import Unknown

HOST_FIELD, LIST_FIELD = "host", "list"


@dataclass(frozen=True, slots=True)
class HostNames:
    """Names that a rule wants: these, and all that are below those."""

    exact: frozenset[str]
    below: frozenset[str]
    """As in ``*.example.org``, without the asterisk and its dot; not that name itself."""

    def __contains__(self, name: object) -> bool:
        """Whether a name is one of these."""
        if name in self.exact:
            return True
        return bool(self.below) and any(each in self.below for each in _above(str(name)))

    def includes(self, other: HostNames) -> bool:
        """Whether all names that *other* wants are wanted here."""
        below = (
            name in self.below or any(each in self.below for each in _above(name))
            for name in other.below
        )
        return all(name in self for name in other.exact) and all(below)


@dataclass(frozen=True, slots=True)
class HostCondition:
    """Holds where every name that counts for the flow is wanted; negated: where none is."""

    field: str
    wanted: HostNames
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether it holds for certain."""
        return self.holds(case) is True

    def covers(self, other: object) -> bool:
        """Whether it surely holds wherever *other* does."""
        if not isinstance(other, HostCondition) or self.negated or other.negated:
            return False
        return self.wanted.includes(other.wanted)

    def holds(self, case: Case) -> bool | None:
        """Whether it holds; None: no name is known, or only some of several are wanted."""
        wanted = agreed(case.names, [name.text in self.wanted for name in case.names.names])
        return None if wanted is None else wanted is not self.negated


@dataclass(frozen=True, slots=True)
class ListCondition:
    """Holds where the destination is on any of the lists, by its names or by its address.

    A name counts as listed if one that it is an alias of is: who asks for ``a.example.org`` and is
    led to ``tracker.example`` talks to a tracker.
    """

    field: str
    lists: tuple[NamedList, ...]
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether it holds for certain."""
        return self.holds(case) is True

    def holds(self, case: Case) -> bool | None:
        """Whether it holds; None: a list has no content, or the names do not tell."""
        listed = self._is_listed(case)
        return None if listed is None else listed is not self.negated

    def _is_listed(self, case: Case) -> bool | None:
        contents = [each.content for each in self.lists]
        daddr = read_daddr(case)
        if not isinstance(daddr, Unknown) and any(
            each is not None and each.has_address(daddr) for each in contents
        ):
            return True
        named = [each for each in contents if each is None or each.names]
        if not named:
            return False
        listed = [
            any(each is not None and each.has_name(text) for text in texts for each in named)
            for texts in _texts(case.names)
        ]
        if listed and all(listed):
            return True
        return None if None in named else agreed(case.names, listed)

    def entry(self, case: Case) -> Entry | None:
        """Return the line of a list that names the destination; None: none does."""
        found = self._address_entry(case)
        if found is not None:
            return found
        entries = (self._name_entry(texts) for texts in _texts(case.names))
        return next((entry for entry in entries if entry is not None), None)

    def _address_entry(self, case: Case) -> Entry | None:
        daddr = read_daddr(case)
        if isinstance(daddr, Unknown):
            return None
        for each in self.lists:
            found = None if each.content is None else each.content.find_address(daddr)
            if found is not None:
                return found
        return None

    def _name_entry(self, texts: tuple[str, ...]) -> Entry | None:
        for text in texts:
            for each in self.lists:
                found = each.content.find_name(text) if each.content else None
                if found is not None:
                    return found
        return None


def agreed(names: Names, answers: list[bool]) -> bool | None:
    """Return what is true of all *names* alike; None: of some only, or there are none."""
    if not names.names or (any(answers) and not all(answers)):
        return None
    return answers[0]


def _texts(names: Names) -> Iterator[tuple[str, ...]]:
    for name in names.names:
        yield (name.text, *name.aliases)


def _above(name: str) -> Iterator[str]:
    """Yield the domains that a name is below, the nearest first."""
    at = name.find(".")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)
