"""Memory while, and after, many rules are read."""

import gc
from contextlib import suppress

from nfsnitch.large import settle, uncollected


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
