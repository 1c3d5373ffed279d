"""Files rules of large files under what they want, as fast as they can be looked through.

Nearly all rules are a name, an action and some fields that cannot contradict each other. What one
text stands for is looked up, and stored where the index will look for it; no rule is made, and no
condition of the simplest values. Any other rule is left to `drafts`, as if it had not been seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from nfsnitch.adapters.rulefile.drafts import NODES_OF_VALUE, Drafts, Field, NotPlainItemError
from nfsnitch.adapters.rulefile.head import MAX_NAME_CHARACTERS, MAX_NOTE_CHARACTERS
from nfsnitch.adapters.rulefile.items import SCALAR, NotPlainError, is_plain
from nfsnitch.adapters.rulefile.simple_keys import simple_keys
from nfsnitch.adapters.rulefile.values import has_ports
from nfsnitch.core.conditions import PROTO_FIELD, ValueCondition, bypasses_of
from nfsnitch.core.flow import Family
from nfsnitch.core.rule import Condition
from nfsnitch.core.rule_keys import NAME, KeyFinder, Keys

CONTRADICTED = frozenset({"owner", "family", "proto", "script"})
"""Without one of these no two fields contradict each other, and a rule is on no openings."""
NODES_OF_HEAD = 7
"""As many as YAML makes of it with a note."""
_OF_ADDRESSES = frozenset({"family", "daddr", "saddr"})
_MOST_TEXTS = 1 << 20
_NAME_KEY, _NOTE_KEY = "name: ", "note"
_is_name = re.compile(_NAME_KEY + SCALAR).fullmatch
_MOST_OF_NAME = len(_NAME_KEY) + MAX_NAME_CHARACTERS

_Meaning = tuple[int, int, Keys, int]
"""Of a text: bits that no other text of the rule may have; the column, and what is stored there;
and how many nodes YAML makes of it."""
_BITS = [1 << at for at in range(NAME + 1)]
"""Of columns."""
_REFUSED_BIT, _ACTION_BIT, _NOTE_BIT, _ADDRESS_BIT = (1 << NAME + at for at in (1, 2, 3, 4))
_FIRST_OTHER_BIT = NAME + 5
_REFUSED: _Meaning = (_REFUSED_BIT, 0, None, 0)
_ACTION: _Meaning = (_ACTION_BIT, 0, None, 0)
_NOTE: _Meaning = (_NOTE_BIT, 0, None, 0)


class Tables(NamedTuple):
    """What rules want, by their numbers."""

    columns: list[list[Keys]]
    """See `rule_keys.keys_of_all`. They may be shorter or longer than there are rules."""
    named: set[int]
    """Rules that do something where there is no name."""
    conditions: dict[int, Condition]
    """That rules have, by identity; none of the simplest values."""


class SimpleRules:
    """Fills tables."""

    def __init__(
        self,
        tables: Tables,
        drafts: Drafts,
        claims: Callable[[str], bool],
        *,
        at_unknown_names: bool,
    ) -> None:
        """*drafts* understand texts; *claims* gives a name to a rule if no other has it.

        *at_unknown_names* says whether rules that ask for names do something where there is none.
        """
        self._drafts, self._claims = drafts, claims
        self._columns, self._named, self._conditions = tables
        self._named_bit = _BITS[NAME] if at_unknown_names else 0
        self._finder = KeyFinder()
        self._known: dict[str, _Meaning] = {}
        self._fresh: dict[str, Condition] = {}
        """Texts that the rule of the moment is the first to have, and is not filed yet."""

    def take(self, texts: list[str], number: int) -> int:
        """File the rule of these texts, as *number*; all columns must be longer than that.

        Return of how many nodes of YAML it is; 0: it is not that simple, and not filed.

        Raises:
            NotPlainError: its name is taken.

        """
        known, columns = self._known, self._columns
        name, seen, nodes = "", _REFUSED_BIT, NODES_OF_HEAD
        for text in texts:
            if not name and _is_name(text):
                name = text
                continue
            bits, column, keys, size = known.get(text) or self._understood(text)
            if seen & bits:
                return self._undone(number)
            seen |= bits
            nodes += size
            if keys is not None:
                columns[column][number] = keys
        if not name or not seen & _ACTION_BIT or len(name) > _MOST_OF_NAME:
            return self._undone(number)
        if not self._claims(name[len(_NAME_KEY) :]):
            raise NotPlainError
        if self._fresh:
            self._keep_fresh()
        if seen & self._named_bit:
            self._named.add(number)
        return nodes

    def _understood(self, text: str) -> _Meaning:
        """Return what a text stands for that was not met before."""
        field, _, value = text.partition(": ")
        simple = simple_keys(field, value)
        if simple is not None:
            at, keys = simple
            meaning = _BITS[at], at, keys, NODES_OF_VALUE
        elif field == _NOTE_KEY:
            is_simple = len(value) <= MAX_NOTE_CHARACTERS and is_plain(value)
            return _NOTE if is_simple else _REFUSED
        else:
            meaning = self._meant(text)
        if len(self._known) >= _MOST_TEXTS:
            self._known.clear()
        self._known[text] = meaning
        return meaning

    def _meant(self, text: str) -> _Meaning:
        try:
            meant = self._drafts.meaning_of(text)
        except NotPlainItemError:
            return _REFUSED
        if not isinstance(meant, Field):
            return _ACTION
        condition = meant.condition
        if meant.name in CONTRADICTED and not _is_harmless(condition):
            return _REFUSED
        self._fresh[text] = condition
        # The simplest addresses are of IPv4 and fit to its family, any others may not.
        bit = _ADDRESS_BIT if meant.name in _OF_ADDRESSES else 0
        placed = self._finder.key_of(condition)
        if placed is None:
            return bit | 1 << _FIRST_OTHER_BIT + meant.at, 0, None, meant.nodes
        return bit | _BITS[placed[0]], *placed, meant.nodes

    def _keep_fresh(self) -> None:
        for condition in self._fresh.values():
            self._conditions[id(condition)] = condition
        self._fresh.clear()

    def _undone(self, number: int) -> int:
        """Forget what was filed of a rule; return 0."""
        for column in self._columns:
            column[number] = None
        for text in self._fresh:
            self._known.pop(text, None)
        self._fresh.clear()
        return 0


def _is_harmless(condition: Condition) -> bool:
    """Whether it contradicts no other one that is simple, and is on no openings.

    So it is with protocols that have ports, and with the family of IPv4.
    """
    if type(condition) is not ValueCondition or not isinstance(condition.wanted, frozenset):
        return False
    if condition.field == PROTO_FIELD:
        return any(map(has_ports, condition.wanted)) and not bypasses_of([condition])
    return condition.field == "family" and condition.wanted == {Family.IPV4}
