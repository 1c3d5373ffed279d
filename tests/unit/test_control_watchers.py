"""Clients of the control socket that watch: what they get, and what they miss."""

from __future__ import annotations

from control_play import (
    MakePlay,
    Play,
    a_record,
    records_of,
    watching,
)
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.core.alike import Alike
from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    Missed,
    Recorded,
    Stopping,
)


def test_a_watcher_gets_every_record_in_order(play: Play) -> None:
    watcher = play.run(watching(play))
    for number in range(50):
        play.server.record(a_record(number))

    assert play.run(records_of(watcher, 50)) == list(range(50))
    assert play.counters[Counter.WATCH_DROPPED] == 0


def test_a_watcher_gets_whole_records_of_those_that_are_alike(play: Play) -> None:
    watcher = play.run(watching(play))
    like = a_record(7)
    play.server.record_alike(
        [Alike(like, like.wall_ns + 1_000 * n, 50_000 + n, bytes(4)) for n in range(3)]
    )

    messages = [play.run(watcher.hear()) for _ in range(3)]
    told = [each.record for each in messages if isinstance(each, Recorded)]
    assert [each["sport"] for each in told] == [50_000, 50_001, 50_002]
    assert {each["rule"] for each in told} == {"web"}


def test_a_slow_watcher_is_told_how_many_it_missed_and_nobody_else_misses_any(play: Play) -> None:
    slow, quick = (play.run(watching(play)) for _ in range(2))
    count = 1_500

    async def flood() -> list[int]:
        numbers: list[int] = []
        for first in range(0, count, 50):
            for number in range(first, first + 50):
                play.server.record(a_record(number))
            numbers += await records_of(quick, 50)
        return numbers

    assert play.run(flood()) == list(range(count))
    dropped = play.counters[Counter.WATCH_DROPPED]
    assert 0 < dropped < count
    got = play.run(records_of(slow, count))
    assert len(got) == count - dropped
    assert got == sorted(set(got))


def test_records_that_come_too_quickly_for_anybody_are_missed_where_they_were(
    make: MakePlay,
) -> None:
    play = make(ControlLimits(pending_records=5))
    watcher = play.run(watching(play))
    for number in range(8):
        play.server.record(a_record(number))

    messages = [play.run(watcher.hear()) for _ in range(6)]

    assert [isinstance(each, Recorded) for each in messages] == [True] * 5 + [False]
    assert messages[-1] == Missed(3)
    assert play.counters[Counter.WATCH_DROPPED] == 3


def test_a_watcher_that_vanished_is_forgotten_and_costs_the_others_nothing(play: Play) -> None:
    gone, stays = (play.run(watching(play)) for _ in range(2))
    assert play.server.watchers == 2
    gone.close()
    for number in range(20):
        play.server.record(a_record(number))

    assert play.run(records_of(stays, 20)) == list(range(20))
    play.run(play.until(lambda: play.server.watchers == 1))
    stays.close()
    play.run(play.until(lambda: play.server.watchers == 0))


def test_a_watcher_that_talks_nonsense_is_closed_even_if_it_does_not_read(
    make: MakePlay,
) -> None:
    play = make(ControlLimits(linger_s=0.05))
    watcher = play.run(watching(play))
    play.run(watcher.say(b"?\n"))

    play.run(play.until(lambda: play.server.watchers == 0))


def test_at_the_end_watchers_get_what_is_left_and_hear_of_the_stop(play: Play) -> None:
    watcher = play.run(watching(play))
    for number in range(30):
        play.server.record(a_record(number))
    play.server.close()

    assert play.run(records_of(watcher, 30)) == list(range(30))
    assert [play.run(watcher.hear()) for _ in range(2)] == [Stopping(), None]
