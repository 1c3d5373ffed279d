"""The ruleset as text, compared whole: whoever changes it shall see all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsnitch.adapters.nft import (
    ACCEPTED_LABEL,
    QUEUE_BIT,
    REJECT_MARK,
    Queueing,
    RulesetOptions,
    exchanged,
    rendered,
)
from nfsnitch.core.settings import FailMode, Loopback, Seeing

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("queueing", list(Queueing))
@pytest.mark.parametrize(
    ("ending", "fail", "loopback"),
    [("", FailMode.CLOSED, Loopback.SKIP), ("-open", FailMode.OPEN, Loopback.JUDGE)],
)
def test_the_ruleset_is_word_for_word_the_one_that_was_read_and_approved(
    queueing: Queueing, ending: str, fail: FailMode, loopback: Loopback
) -> None:
    text = rendered(RulesetOptions(7, queueing, fail=fail, loopback=loopback))

    assert text == (GOLDEN / f"{queueing}{ending}.nft").read_text("utf-8")


@pytest.mark.parametrize("queueing", list(Queueing))
def test_with_forwarding_two_chains_come_after_the_others(queueing: Queueing) -> None:
    plain = rendered(RulesetOptions(7, queueing)).partition("\n# Nothing comes here")[0]
    text = rendered(RulesetOptions(7, queueing, forward=True))

    more = text.removeprefix(plain).partition("\n# Nothing comes here")[0]
    assert more == "\n" + (GOLDEN / "forward.nft").read_text("utf-8")


def test_of_what_is_there_what_is_not_wanted_goes_and_the_rest_stays() -> None:
    wanted = RulesetOptions(7, Queueing.XTABLES)
    there = {**wanted.chains, "settle": 50, "older": None, "pick_forwarded": 149}

    lines = exchanged(wanted, there, ["judged", "older"]).splitlines()

    verbs = ("flush", "delete", "add")
    done = [line for line in lines if line.startswith(verbs)]
    assert [line for line in done if not line.startswith("flush")] == [
        "delete chain inet nfsnitch settle",
        "delete chain inet nfsnitch older",
        "delete chain inet nfsnitch pick_forwarded",
        "delete counter inet nfsnitch older",
        "add counter inet nfsnitch bypassed",
        "add counter inet nfsnitch caught",
        "add counter inet nfsnitch cached",
    ]
    flushed = [line.split()[-1] for line in done if line.startswith("flush")]
    assert set(flushed) == set(there) - {"worker"}


def test_all_numbers_are_the_ones_asked_for() -> None:
    options = RulesetOptions(
        queue_num=65_535,
        queueing=Queueing.XTABLES,
        reject_mark=0x42,
        queue_bit=0x80,
        accepted_label=3,
    )

    assert rendered(options).splitlines()[:5] == [
        "define queue_num = 65535",
        "define queue_bit = 0x00000080",
        "define keep_mask = 0xffffff7f",
        "define reject_mark = 0x00000042",
        "define accepted_label = 3",
    ]


@pytest.mark.parametrize("queueing", list(Queueing))
def test_our_table_is_replaced_before_anything_is_added_to_it(queueing: Queueing) -> None:
    lines = [
        line
        for line in rendered(RulesetOptions(7, queueing)).splitlines()
        if line and not line.startswith(("define", "#"))
    ]

    assert lines[:3] == [
        "add table inet nfsnitch",
        "delete table inet nfsnitch",
        "add table inet nfsnitch",
    ]


@pytest.mark.parametrize("mark", [QUEUE_BIT, QUEUE_BIT | 1, 0xFFFFFFFF])
def test_a_reject_mark_with_the_queue_bit_is_refused(mark: int) -> None:
    with pytest.raises(ValueError, match="queue bit 0x10000000"):
        RulesetOptions(7, Queueing.XTABLES, reject_mark=mark)


def test_our_own_numbers_are_within_what_the_kernel_has_room_for() -> None:
    assert QUEUE_BIT.bit_count() == 1
    assert REJECT_MARK & QUEUE_BIT == 0
    assert max(QUEUE_BIT, REJECT_MARK) < 2**32
    assert ACCEPTED_LABEL < 128


@pytest.mark.parametrize("queueing", list(Queueing))
def test_with_rules_that_wait_for_names_or_refuse_questions_two_files_are_others(
    queueing: Queueing,
) -> None:
    text = rendered(RulesetOptions(7, queueing, seeing=Seeing(names=True, questions=True)))

    assert text == (GOLDEN / f"{queueing}-seeing.nft").read_text("utf-8")
