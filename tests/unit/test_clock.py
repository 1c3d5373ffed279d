"""Local time, as the machine's own zone gives it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from nfsnitch.adapters.clock import Clock, zone_at
from nfsnitch.core.instant import Zone

NS = 10**9


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Written out, so that it needs no zone files: +1, in summer from the last Sunday of March +2.
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "offset_s", "until"),
    [
        ("2030-01-15T12:00:00", 3_600, "2030-03-31T01:00:00"),
        ("2030-03-31T00:59:59", 3_600, "2030-03-31T01:00:00"),
        ("2030-03-31T01:00:00", 7_200, "2030-10-27T01:00:00"),
        ("2030-12-01T00:00:00", 3_600, "2031-03-30T01:00:00"),
    ],
)
def test_a_zone_holds_until_summer_time_begins_or_ends(now: str, offset_s: int, until: str) -> None:
    assert zone_at(moment(now)) == Zone(offset_s, moment(until))


def test_a_zone_without_summer_time_holds_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "IST-5:30")
        time.tzset()
        assert zone_at(moment("2030-01-15T12:00:00")) == Zone(19_800)
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_the_clock_notices_summer_time_in_its_first_moment_and_when_it_is_set_back() -> None:
    change_ns = moment("2030-03-31T01:00:00")
    shown = [change_ns - 1, change_ns, change_ns - 2]
    clock = Clock(lambda: 7, lambda: shown.pop(0))

    offsets = [clock.now().zone.offset_s for _ in range(3)]

    assert offsets == [3_600, 7_200, 3_600]


def test_the_clock_notices_another_zone_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    begin_ns = moment("2030-01-15T12:00:00")
    shown = [begin_ns, begin_ns + 59 * NS, begin_ns + 60 * NS]
    clock = Clock(lambda: 7, lambda: shown.pop(0))
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "UTC0")
        first = clock.now()
        environment.setenv("TZ", "IST-5:30")
        offsets = [each.zone.offset_s for each in (first, clock.now(), clock.now())]
    time.tzset()
    assert offsets == [0, 0, 19_800]
    assert first.monotonic_ns == 7
