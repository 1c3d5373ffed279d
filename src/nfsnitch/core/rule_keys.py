"""What a flow must have for a rule to be worth a try, as far as that can be looked up.

A rule does nothing at all where one of its conditions surely fails, unless that is one on the names
of hosts or on which binary a program is: what is not known of those may decide, too. Of names only
what surely fails is told here, and nothing of binaries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from nfsnitch.core.blocks import Block, blocks_of
from nfsnitch.core.case import Case
from nfsnitch.core.conditions import (
    ValueCondition,
    read_daddr,
    read_dport,
    read_exe,
    read_proto,
    read_saddr,
    read_uid,
)
from nfsnitch.core.name_conditions import HostCondition, HostNames
from nfsnitch.core.pattern import Paths
from nfsnitch.core.ranges import Addresses, Ports
from nfsnitch.core.rule import Condition, Rule

MOST_KEYS = 256
"""A condition that wants more values than so many is tried, and not looked up."""

Key = str | int | bytes | Block
"""A value, or a block of them. Of a name below which all are meant: it after a dot."""
Keys = Key | list[Key] | None
"""All values by which a condition may hold; one stands for itself. None: it may by any."""

PlacedKeys = tuple[int, Keys]
"""Which of `READERS` it is about (or `NAME`), and the keys."""

READERS: tuple[Callable[[Case], Any], ...] = (
    read_exe,
    read_uid,
    read_saddr,
    read_daddr,
    read_dport,
    read_proto,
)
"""What rules are told apart by, in this order: who sends, then where to."""
OF_THE_FLOW = frozenset(
    READERS.index(read) for read in (read_saddr, read_daddr, read_dport, read_proto)
)
"""What is not known yet when a name is asked for (`core.ruleset.FLOW_FIELDS`)."""
NAME = len(READERS)
"""After all of them, the names of the host."""
OF_ONE_FLOW = frozenset({READERS.index(read_saddr), NAME})
"""What flows of one program to one destination need not have alike."""
OF_SOME_DESTINATION = OF_ONE_FLOW | {READERS.index(read_daddr), READERS.index(read_dport)}
"""The same of one program, wherever to."""
_PLACES = {read: at for at, read in enumerate(READERS)}


def keys_of_all(rules: Sequence[Rule]) -> list[list[Keys]]:
    """Return for each of `READERS`, and then for names, the keys of each rule."""
    table: list[list[Keys]] = [[None] * len(rules) for _ in range(NAME + 1)]
    finder = KeyFinder()
    for number, rule in enumerate(rules):
        for condition in rule.conditions:
            found = finder.key_of(condition)
            if found is not None and table[found[0]][number] is None:
                table[found[0]][number] = found[1]
    return table


class KeyFinder:
    """Finds the keys of conditions, of large ones that many rules share once."""

    def __init__(self) -> None:
        self._known: dict[int, Keys] = {}
        """By the identity of what a condition wants, which must live as long as this."""

    def key_of(self, condition: Condition) -> PlacedKeys | None:
        """Return where in a table a condition has keys, and which; None: it has none."""
        if type(condition) is ValueCondition:
            at = _PLACES.get(condition.read)
        elif type(condition) is HostCondition:
            at = NAME
        else:
            return None
        if at is None or condition.negated:
            return None
        wanted = condition.wanted
        key: Keys = _only_key(wanted)
        if key is None:
            known_as = id(wanted)
            if known_as not in self._known:
                self._known[known_as] = _keys(wanted)
            key = self._known[known_as]
        return at, key


def keys_of_name(name: str) -> list[str]:
    """Return the keys by which a rule may want a name: itself, and all domains it is below."""
    keys = [name]
    at = name.find(".")
    while at >= 0:
        keys.append(name[at:])
        at = name.find(".", at + 1)
    return keys


def _only_key(wanted: object) -> Key | None:
    """Return the only value of most conditions, as quickly as can be; None: there may be others."""
    ends: Sequence[tuple[Any, ...]] = ()
    if type(wanted) is Paths:
        if len(wanted.exact) == 1 and not wanted.globs:
            (path,) = wanted.exact
            return path
    elif type(wanted) is Ports:
        ends = wanted.firsts, wanted.lasts
    elif type(wanted) is Addresses and not wanted.firsts6:
        ends = wanted.firsts4, wanted.lasts4
        if len(wanted.firsts4) == 1 and ends[0] != ends[1]:
            return _block_of(wanted)
    return ends[0][0] if ends and len(ends[0]) == 1 and ends[0] == ends[1] else None


def _block_of(wanted: Addresses) -> Block | None:
    """Return the block that these addresses are, as most are; None: they may be several."""
    if wanted.firsts6 or len(wanted.firsts4) != 1:
        return None
    first = int.from_bytes(wanted.firsts4[0], "big")
    size = int.from_bytes(wanted.lasts4[0], "big") - first + 1
    if size & (size - 1) or first & (size - 1):
        return None
    free_bits = size.bit_length() - 1
    return Block(len(wanted.firsts4[0]), free_bits, first >> free_bits)


def _keys(wanted: object) -> Keys:
    keys = _all_keys(wanted)
    return keys[0] if keys is not None and len(keys) == 1 else keys


def _all_keys(wanted: object) -> list[Key] | None:
    if isinstance(wanted, Paths):
        return None if wanted.globs else _if_few([*wanted.exact])
    if isinstance(wanted, HostNames):
        return _if_few([*wanted.exact, *(f".{name}" for name in wanted.below)])
    if isinstance(wanted, frozenset):
        return _if_few([*wanted])
    if not isinstance(wanted, Ports | Addresses):
        return None
    return _if_few([*islice(blocks_of(wanted), MOST_KEYS + 1)])


def _if_few(keys: list[Key]) -> list[Key] | None:
    return keys if len(keys) <= MOST_KEYS else None
