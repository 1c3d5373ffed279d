"""What a plain rule of a large file says: its texts, each of which is understood once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, cast

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, RuleField
from nfsnitch.adapters.rulefile.head import MAX_NAME_CHARACTERS, MAX_NOTE_CHARACTERS
from nfsnitch.adapters.rulefile.items import (
    NotPlainError,
    is_plain,
    part,
    parts_of,
)
from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.adapters.rulefile.simple_keys import simple_keys
from nfsnitch.adapters.rulefile.values import parse_action
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import NAME_FIELDS, Condition, Rule
from nfsnitch.core.rule_keys import PlacedKeys

_NAME, _NOTE, _ACTION = "name", "note", "action"
_ALONE = (f"{_NAME}: ", f"{_NOTE}: ")
_PLACE = attrgetter("at")
_ORDER = {name: at for at, name in enumerate(RULE_FIELDS)}
_MOST_TEXTS = 1 << 20
NODES_OF_VALUE = 2
"""As many as YAML makes, with the key."""


class Field:
    """What a text stands for that several rules may have."""

    __slots__ = ("_condition", "_make", "at", "keys", "name", "nodes")

    def __init__(
        self,
        name: str,
        make: Callable[[], Condition] | Condition,
        nodes: int,
        keys: PlacedKeys | None = None,
    ) -> None:
        """*make* makes the condition, or is it; *nodes* are so many as YAML makes of the text.

        *keys* are what the condition wants, if that is known already.
        """
        self.at = _ORDER[name]
        """Where it comes among the conditions of a rule."""
        self.name, self.nodes, self.keys = name, nodes, keys
        self._make = make if callable(make) else None
        self._condition = None if callable(make) else make

    def __reduce__(self) -> tuple[type[Field], tuple[str, Condition, int]]:
        """Be handed to another process with the condition (pickle)."""
        return Field, (self.name, self.condition, self.nodes)

    @property
    def condition(self) -> Condition:
        """The condition, made when it is first needed."""
        if self._condition is None and self._make is not None:
            self._condition = self._make()
        return cast("Condition", self._condition)

    @property
    def is_made(self) -> bool:
        """Whether the condition has been needed."""
        return self._condition is not None


class Draft(NamedTuple):
    """What one item says."""

    name: str
    action: Action
    fields: list[Field]
    """In the order of conditions."""
    note: str | None

    def rule(self, origin: str, on_unknown_name: Action | None) -> Rule:
        """Return the rule; *on_unknown_name* is for all that ask for names."""
        asks_names = any(each.name in NAME_FIELDS for each in self.fields)
        conditions = tuple(each.condition for each in self.fields)
        on_unknown = on_unknown_name if asks_names else None
        return Rule(self.name, self.action, conditions, origin, self.note, on_unknown)


class NotPlainItemError(Exception):
    """YAML has to say what one rule is."""


class Drafts:
    """Reads items."""

    def __init__(
        self,
        condition_of: Callable[[RuleField, tuple[str, ...]], Condition],
        fixed: Mapping[str, Field | Action] = MappingProxyType({}),
        most_texts: int = _MOST_TEXTS,
    ) -> None:
        """*condition_of* makes conditions, and may raise `Refused`; it is not asked of *fixed*.

        What *most_texts* stand for is remembered.
        """
        self._condition_of = condition_of
        self._fixed = fixed
        self._most_texts = most_texts
        self.known: dict[str, Field | Action] = {}
        """By text, as in ``dport: 443``."""

    def read(self, lines: list[str], indent: int) -> Draft:
        """Return what a rule says.

        Raises:
            NotPlainItemError: YAML has to say it.
            NotPlainError: something is wrong with it.

        """
        texts = parts_of(lines, indent)
        if texts is None:
            raise NotPlainItemError
        heads: dict[str, str] = {}
        actions: list[Action] = []
        fields: list[Field] = []
        for text in texts:
            known = self.known.get(text)
            if known is None:
                if text.startswith(_ALONE):
                    _add_head(text, heads)
                    continue
                known = self.meaning_of(text)
            if type(known) is Field:
                fields.append(known)
            else:
                actions.append(cast("Action", known))
        if len(actions) != 1 or _NAME not in heads:
            raise NotPlainError
        if len(fields) > 1:
            fields.sort(key=_PLACE)
            for one, other in pairwise(fields):
                if one.at == other.at:
                    raise NotPlainError
        return Draft(heads[_NAME], actions[0], fields, heads.get(_NOTE))

    def meaning_of(self, text: str) -> Field | Action:
        """Return what a text stands for that is neither name nor note.

        Raises:
            NotPlainItemError: YAML has to say it.

        """
        known = self.known.get(text, self._fixed.get(text))
        if known is not None:
            return known
        key, _, value = text.partition(": ")
        keys = simple_keys(key, value)
        if keys is not None:  # as in most of many texts
            make = partial(self._condition_of, RULE_FIELDS[key], (value,))
            return self._kept(text, Field(key, make, NODES_OF_VALUE, keys))
        found = part(text)
        if found is None:
            raise NotPlainItemError
        field = RULE_FIELDS.get(found.key)
        try:
            if field is not None:
                condition = self._condition_of(field, found.values)
                nodes = NODES_OF_VALUE + len(found.values) * found.is_list
                known = Field(field.name, condition, nodes)
            elif found.key == _ACTION and not found.is_list:
                known = parse_action(found.values[0])
            else:
                raise NotPlainItemError
        except Refused:
            raise NotPlainItemError from None
        return self._kept(text, known)

    def _kept(self, text: str, known: Field | Action) -> Field | Action:
        if len(self.known) >= self._most_texts:
            self.known.pop(next(iter(self.known)))
        self.known[text] = known
        return known


def _add_head(text: str, heads: dict[str, str]) -> None:
    """Take a text that says something about one rule alone."""
    key, _, value = text.partition(": ")
    if not is_plain(value):
        raise NotPlainItemError
    if key in heads or len(value) > (MAX_NAME_CHARACTERS if key == _NAME else MAX_NOTE_CHARACTERS):
        raise NotPlainError
    heads[key] = value
