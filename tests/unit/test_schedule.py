"""Hours of the week: what is inside, and when that changes."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import case
from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.adapters.rulefile.time_values import DAYS, parse_expires, parse_moment, parse_schedule
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.decision import Action
from nfsnitch.core.instant import Instant, Zone
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.schedule import (
    MINUTES_OF_DAY,
    MINUTES_OF_WEEK,
    Span,
    Weekly,
    minute_of_week,
    next_change_ns,
    weekly,
)
from nfsnitch.core.timed import ExpiryCondition, ScheduleCondition

KNOWN = Known(Names(lambda _: None, lambda _: frozenset()), {})
NS = 10**9


def hours(*texts: str) -> Weekly:
    return weekly(span for text in texts for span in parse_schedule(text, KNOWN))


def at(text: str, offset_s: int = 0, until: str | None = None) -> Instant:
    """Return a moment that is given in UTC."""
    until_ns = None if until is None else _ns(until)
    return Instant(0, _ns(text), Zone(offset_s, until_ns))


def _ns(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}Z").timestamp()) * NS


def inside(wanted: Weekly, now: Instant) -> bool:
    return minute_of_week(now) in wanted


@pytest.mark.parametrize(
    ("text", "inside_at", "outside_at"),
    [
        ("mon-fri 08:00-18:00", "2030-06-24T08:00:00", "2030-06-24T18:00:00"),
        ("mon-fri 08:00-18:00", "2030-06-28T17:59:59", "2030-06-29T12:00:00"),
        ("08:00-12:00,13:00-17:00", "2030-06-30T13:00:00", "2030-06-30T12:30:00"),
        ("fri 22:00-06:00", "2030-06-29T05:59:59", "2030-06-28T05:00:00"),
        ("sun 22:00-06:00", "2030-06-24T01:00:00", "2030-06-23T21:59:59"),
        ("sat-mon", "2030-06-24T23:59:59", "2030-06-25T00:00:00"),
        ("sat , sun", "2030-06-30T00:00:00", "2030-06-24T00:00:00"),
        ("Sun 23:00 - 24:00", "2030-06-30T23:59:59", "2030-07-01T00:00:00"),
    ],
)
def test_a_schedule_has_these_hours_and_not_those(
    text: str, inside_at: str, outside_at: str
) -> None:
    assert inside(hours(text), at(inside_at))
    assert not inside(hours(text), at(outside_at))


def test_local_time_counts() -> None:
    office = hours("mon-fri 08:00-18:00")
    assert not inside(office, at("2030-06-24T07:30:00"))
    assert inside(office, at("2030-06-24T07:30:00", 7_200))
    assert inside(office, at("2030-06-24T13:30:00", -18_000))


def test_the_next_change_is_the_next_end_or_beginning() -> None:
    office = hours("mon-fri 08:00-18:00")
    friday = at("2030-06-28T12:00:01", 7_200)
    assert next_change_ns(office, friday) == at("2030-06-28T16:00:00").wall_ns
    evening = at("2030-06-28T16:00:00", 7_200)
    assert next_change_ns(office, evening) == at("2030-07-01T06:00:00").wall_ns


def test_hours_that_meet_are_no_change_and_the_whole_week_never_changes() -> None:
    assert next_change_ns(hours("mon-sun"), at("2030-06-28T12:00:00")) is None
    through_midnight = hours("sun 20:00-24:00", "mon 00:00-04:00")
    late = at("2030-06-30T23:00:00")
    assert next_change_ns(through_midnight, late) == at("2030-07-01T04:00:00").wall_ns


def test_one_has_to_look_again_when_summer_time_begins_or_ends() -> None:
    now = at("2030-03-30T12:00:00", 3_600, until="2030-03-31T01:00:00")
    assert next_change_ns(hours("mon"), now) == at("2030-03-31T01:00:00").wall_ns


_spans = st.lists(
    st.builds(
        lambda first, length: Span(first, first + length),
        st.integers(0, MINUTES_OF_WEEK - 1),
        st.integers(1, MINUTES_OF_DAY),
    ),
    max_size=5,
)
_instants = st.builds(
    lambda wall_s, offset_min: Instant(0, wall_s * NS + 5, Zone(offset_min * 60)),
    st.integers(0, 4_000_000_000),
    st.integers(-840, 840),
)


@given(_spans, st.integers(0, MINUTES_OF_WEEK - 1))
def test_a_minute_is_inside_if_a_span_has_it(spans: list[Span], minute: int) -> None:
    wanted = weekly(spans)
    expected = any(
        first <= each < end for first, end in spans for each in (minute, minute + MINUTES_OF_WEEK)
    )
    assert (minute in wanted) is expected


@given(_spans, _instants)
def test_nothing_changes_before_the_next_change_and_then_it_does(
    spans: list[Span], now: Instant
) -> None:
    wanted = weekly(spans)
    change_ns = next_change_ns(wanted, now)
    if change_ns is None:
        assert not spans or len({minute in wanted for minute in range(MINUTES_OF_WEEK)}) == 1
        return
    assert change_ns > now.wall_ns
    before = now._replace(wall_ns=change_ns - 1)
    assert inside(wanted, before) is inside(wanted, now)
    assert inside(wanted, now._replace(wall_ns=change_ns)) is not inside(wanted, now)


_limits = st.lists(
    st.one_of(
        st.builds(ScheduleCondition, st.just("schedule"), _spans.map(weekly), st.booleans()),
        st.builds(
            ExpiryCondition, st.just("expires"), st.integers(0, 4_000_000_000).map(lambda s: s * NS)
        ),
    ),
    max_size=2,
).map(tuple)


@given(st.lists(_limits, max_size=4), _instants, st.floats(0, 1, exclude_max=True))
def test_the_rules_say_the_same_until_the_moment_at_which_they_may_not(
    limits: list[tuple[Condition, ...]], now: Instant, part: float
) -> None:
    ruleset = Ruleset(
        tuple(Rule(str(n), Action.DENY, each, "test:1") for n, each in enumerate(limits))
    )
    change_ns = ruleset.next_change_ns(now)
    if change_ns is None:
        change_ns = now.wall_ns + 10**18
    assert change_ns > now.wall_ns
    later = now._replace(wall_ns=now.wall_ns + int((change_ns - now.wall_ns) * part))
    asked = case()
    first, second = (ruleset.rule_on(asked._replace(now=each)) for each in (now, later))
    assert first == second


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 1439), st.integers(1, 1440), _instants)
def test_what_is_written_is_what_the_clock_shows(
    first_day: int, last_day: int, begin: int, end: int, now: Instant
) -> None:
    if begin == end:
        return
    text = f"{DAYS[first_day]}-{DAYS[last_day]} {_clock(begin)}-{_clock(end)}"
    shown = datetime.fromtimestamp(now.wall_ns // NS, UTC) + timedelta(seconds=now.zone.offset_s)
    minute = shown.hour * 60 + shown.minute
    days = {(first_day + n) % 7 for n in range((last_day - first_day) % 7 + 1)}
    today, yesterday = shown.weekday() in days, (shown.weekday() - 1) % 7 in days
    if begin < end:
        expected = today and begin <= minute < end
    else:
        expected = (today and minute >= begin) or (yesterday and minute < end)
    assert inside(hours(text), now) is expected


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@given(st.text(max_size=20))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(Refused):
        assert all(0 <= first < end for first, end in parse_schedule(text, KNOWN))
    with suppress(Refused):
        assert parse_expires(text) % NS == 0


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001  written without zone
def test_a_moment_is_read_as_it_was_written(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    in_utc = int(moment.replace(tzinfo=UTC).timestamp()) * NS
    assert parse_moment(f"{moment:%Y-%m-%dT%H:%M:%S}Z") == in_utc
    assert parse_moment(f"{moment:%Y-%m-%d %H:%M:%S}+02:00") == in_utc - 7_200 * NS
