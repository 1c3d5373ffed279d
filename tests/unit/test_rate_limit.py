"""The token bucket that bounds how often something dear is done."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.rate_limit import RateLimit


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
