"""Large things that are made once: the interpreter's memory while, and after, they are made."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset

_LARGE = 10_000
"""Rules. To look through so many for what nobody needs takes tens of milliseconds."""
_YOUNG = 5_000
"""Things made since the last look for cycles of garbage: a burst makes so many, and keeps them."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no cycles of garbage meanwhile: each time all that is made would be gone through."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def is_large(rules: Sequence[Rule]) -> bool:
    """Whether so many rules are worth some trouble."""
    return len(rules) >= _LARGE


def let_go(kept: list[Ruleset]) -> None:
    """Free the one ruleset in a list, in steps that are so small that no packet waits for them.

    It is for a thread. What somebody else still holds stays as it is.
    """
    parts = _parts_of(kept.pop())
    parts.reverse()  # what holds others goes first
    while parts:
        parts.pop()


def _parts_of(ruleset: Ruleset) -> list[object]:
    # Where these are needed, they are there already: with few rules nobody needs them.
    from nfsnitch.adapters.rulefile.written_rules import WrittenRules  # noqa: PLC0415
    from nfsnitch.core.index_parts import splits_of  # noqa: PLC0415

    layer = ruleset.of_rules
    indexes = (layer.of_flows, layer.of_questions)
    parts: list[object] = []
    for index in indexes:
        if index is not None:
            parts += splits_of(index.root)
    if isinstance(ruleset.rules, WrittenRules):
        parts += ruleset.rules.parts
    return parts


def settle_down() -> None:
    """Never look for cycles of garbage among what there is by now, and among the rest less often.

    A look at everything that the daemon is made of takes 20 ms, for which every packet would wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


def settle(rules: int) -> None:
    """Give memory back, and never look again for cycles of garbage among what there is by now.

    That is for many *rules*: while they are gone through, every packet would wait. What is
    replaced is freed all the same: there are no cycles in it.
    """
    if rules < _LARGE:
        return
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # malloc_trim(3), of glibc alone
        trim(0)
