"""Rules of large files, built from the texts of `items`, with what they have in common once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Protocol

from nfsnitch.adapters.rulefile.contradictions import contradictions
from nfsnitch.adapters.rulefile.document import MAX_NODES
from nfsnitch.adapters.rulefile.drafts import Draft, Drafts, NotPlainItemError
from nfsnitch.adapters.rulefile.items import Cut, Item, Items, NotPlainError
from nfsnitch.adapters.rulefile.rules import Rules
from nfsnitch.adapters.rulefile.simple_rules import (
    CONTRADICTED,
    NODES_OF_HEAD,
    SimpleRules,
    Tables,
)
from nfsnitch.core.conditions import bypasses_of
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import Rule


class Sink(Protocol):
    """Takes rules in order."""

    @property
    def tables(self) -> Tables | None:
        """Where the simplest rules are filed; None: each of them is to be given to `add`."""

    def begin(self, cut: Cut) -> int:
        """Take all rules of this file from now on; return the number of the first one."""

    def add(self, items: Items, item: Item, draft: Draft) -> None:
        """Take one that is plain, and on no openings."""

    def add_others(self, items: Items | None, item: Item | None, rules: Iterable[Rule]) -> None:
        """Take others; *item* is where one stands, if it is one of *items*."""


class RuleSink:
    """Takes them as they are."""

    def __init__(self, on_unknown_name: Action | None) -> None:
        self._on_unknown_name = on_unknown_name
        self.rules: list[Rule] = []

    @property
    def tables(self) -> None:
        """None: rules are wanted."""
        return

    def begin(self, cut: Cut) -> int:
        """Take the rules of a file."""
        del cut
        return len(self.rules)

    def add(self, items: Items, item: Item, draft: Draft) -> None:
        """Take one that is plain."""
        origin = f"{items.source.name}:{item.line}"
        self.rules.append(draft.rule(origin, self._on_unknown_name))

    def add_others(self, items: Items | None, item: Item | None, rules: Iterable[Rule]) -> None:
        """Take others."""
        del items, item
        self.rules += rules


class PlainRules:
    """Reads the rules of large files."""

    def __init__(self, rules: Rules, sink: Sink) -> None:
        """*rules* know what has been read by now; what comes of reading goes to *sink*."""
        self._rules, self._sink = rules, sink
        self.drafts = Drafts(rules.condition_of)
        says_something = rules.on_unknown_name is not None
        tables = sink.tables
        self._simple = (
            None
            if tables is None
            else SimpleRules(tables, self.drafts, rules.claims, at_unknown_names=says_something)
        )

    def read(self, items: Items) -> None:
        """Take the rules of one file.

        Raises:
            NotPlainError: something is wrong with them, or they cannot be told apart.

        """
        cut = items.cut()
        first = self._sink.begin(cut)
        simple = self._simple
        nodes = 0
        for number, texts in enumerate(repeat(None, cut.count) if simple is None else cut.texts()):
            taken = 0
            if simple is not None and texts is not None:
                taken = simple.take(texts, first + number)
            nodes += taken or self._read(items, cut.item(number))
            if nodes > MAX_NODES:
                raise NotPlainError

    def _read(self, items: Items, item: Item) -> int:
        """Take one rule; return of how many nodes of YAML it is."""
        try:
            draft = self.drafts.read(item.lines, items.indent)
        except NotPlainItemError:
            node = items.node_of(item)
            self._rules.read_rule(node)
            self._sink.add_others(items, item, self._rules.taken())
            return node.size
        self._take(items, item, draft)
        return NODES_OF_HEAD + sum(each.nodes for each in draft.fields)

    def _take(self, items: Items, item: Item, draft: Draft) -> None:
        if not self._rules.claims(draft.name):
            raise NotPlainError
        if not CONTRADICTED.isdisjoint([each.name for each in draft.fields]):
            named = {each.name: each.condition for each in draft.fields}
            refusals = self._rules.openings.refusals(named, draft.action)
            if any(True for _ in (*contradictions(named, named), *refusals)):
                raise NotPlainError
            if bypasses_of(named.values()):
                origin = f"{items.source.name}:{item.line}"
                self._sink.add_others(items, item, [draft.rule(origin, None)])
                return
        self._sink.add(items, item, draft)
