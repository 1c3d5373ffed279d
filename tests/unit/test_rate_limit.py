"""The token buckets that bound how often something dear is done, and how long it takes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.rate_limit import RateLimit, TimeLimit


@dataclass
class Clock:
    """Stands still unless moved."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def granted(limit: RateLimit, asked: int) -> int:
    return sum(limit.take() for _ in range(asked))


def test_as_many_as_the_burst_are_allowed_at_once_and_no_more() -> None:
    limit = RateLimit(10, 3, Clock())

    assert [limit.take() for _ in range(5)] == [True, True, True, False, False]


def test_time_brings_back_as_many_as_the_rate_says() -> None:
    clock = Clock()
    limit = RateLimit(4, 8, clock)
    assert granted(limit, 10) == 8

    clock.now_s += 0.5

    assert granted(limit, 10) == 2


def test_parts_of_a_token_add_up() -> None:
    clock = Clock()
    limit = RateLimit(1, 1, clock)
    assert limit.take()

    answers = []
    for _ in range(4):
        clock.now_s += 0.25
        answers.append(limit.take())

    assert answers == [False, False, False, True]


def test_a_long_rest_saves_up_no_more_than_the_burst() -> None:
    clock = Clock()
    limit = RateLimit(100, 5, clock)

    clock.now_s += 3_600

    assert granted(limit, 50) == 5


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 30)), max_size=30),
)
def test_never_more_than_the_burst_and_the_rate_together(
    burst: int, per_second: int, steps: list[tuple[int, int]]
) -> None:
    clock = Clock()
    limit = RateLimit(per_second, burst, clock)
    sixteenths = total = 0
    for waited, asked in steps:
        sixteenths += waited
        clock.now_s = 1_000 + sixteenths / 16
        total += granted(limit, asked)

        assert total <= burst + per_second * sixteenths / 16


def spent(limit: TimeLimit, clock: Clock, each_s: float) -> float:
    """Do pieces that take so long until none may be done; returns the time they took."""
    total_s = 0.0
    while True:
        with limit.spending() as may:
            if not may:
                return total_s
            clock.now_s += each_s
            total_s += each_s


def test_pieces_that_take_long_are_fewer_and_one_may_go_over_what_is_left() -> None:
    clock = Clock()
    limit = TimeLimit(0.125, 1, 0.0625, clock, clock)

    assert 1.0 <= spent(limit, clock, 0.25) <= 1.5
    assert spent(limit, clock, 0.25) == 0


def test_pieces_that_take_no_time_are_bounded_in_number() -> None:
    clock = Clock()
    limit = TimeLimit(0.125, 1, 0.0625, clock, clock)
    done = 0
    while True:
        with limit.spending() as may:
            if not may:
                break
            done += 1

    assert done == 16


def test_a_piece_that_fails_is_charged_as_well() -> None:
    clock = Clock()
    limit = TimeLimit(0.125, 1, 0.0625, clock, clock)
    with suppress(LookupError), limit.spending() as may:
        assert may
        clock.now_s += 4
        raise LookupError

    assert spent(limit, clock, 1) == 0


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 64)), min_size=1, max_size=40))
def test_in_the_long_run_it_takes_no_more_than_its_share(steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    limit = TimeLimit(0.125, 1, 0.0625, clock, clock)
    total_s = longest_s = 0.0
    for waited, took in steps:
        clock.now_s += waited / 16
        with limit.spending() as may:
            if may:
                clock.now_s += took / 16
                total_s += took / 16
                longest_s = max(longest_s, took / 16)

        assert total_s <= 1 + longest_s + 0.125 * (clock.now_s - 1_000)
