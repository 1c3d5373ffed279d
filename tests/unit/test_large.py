"""Memory while, and after, many rules are read."""

import gc
import weakref
from contextlib import suppress

from builders import case
from nfsnitch.core.conditions import ValueCondition, read_exe
from nfsnitch.core.decision import Action
from nfsnitch.core.pattern import paths
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.large import let_go, settle, uncollected


def test_no_garbage_is_looked_for_meanwhile_and_as_before_afterwards() -> None:
    assert gc.isenabled()
    with suppress(ValueError), uncollected():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_what_was_not_looked_for_before_is_not_afterwards() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_many_rules_are_never_gone_through_again_and_few_are() -> None:
    before = gc.get_freeze_count()
    settle(100)
    assert gc.get_freeze_count() == before
    settle(100_000)
    try:
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


class _Held(frozenset[str]):
    """What can be seen to be freed."""


def _ruleset(held: _Held) -> Ruleset:
    condition = ValueCondition("exe", read_exe, held)
    others = (ValueCondition("exe", read_exe, paths([f"/{at}"])) for at in range(100))
    conditions = [condition, *others]
    return Ruleset(
        tuple(Rule(f"r{at}", Action.DENY, (each,), "f:1") for at, each in enumerate(conditions))
    )


def test_a_ruleset_that_is_let_go_is_freed() -> None:
    held = _Held({"/a"})
    alive, kept = weakref.ref(held), [_ruleset(held)]
    del held

    let_go(kept)

    assert kept == []
    assert alive() is None


def test_what_somebody_still_holds_of_a_ruleset_that_is_let_go_decides_as_before() -> None:
    ruleset = _ruleset(_Held({"/a"}))
    ruling = ruleset.rule_on(case())

    let_go([ruleset])

    assert ruleset.rule_on(case()) == ruling
