"""The control server: what clients get, and how little the worst of them can do."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_play import (
    STATUS,
    MakePlay,
    Play,
    a_record,
    records_of,
    refusal,
    still_served,
    watching,
)
from nfsnitch.adapters import control
from nfsnitch.adapters.control_limits import ControlLimits
from nfsnitch.adapters.peer import peer_of
from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    Refused,
    ReloadRequest,
    Reply,
    Right,
    Status,
    StatusRequest,
    StopRequest,
    Watching,
    WatchRequest,
    encode,
)


def test_a_client_gets_its_status_as_often_as_it_asks(play: Play) -> None:
    client = play.client()

    assert [play.run(client.ask(StatusRequest())) for _ in range(3)] == [STATUS] * 3


def test_requests_sent_together_are_answered_in_order(play: Play) -> None:
    client = play.client()
    play.run(client.say(encode(StatusRequest()) + encode(WatchRequest()) + encode(StatusRequest())))

    assert [play.run(client.hear()) for _ in range(3)] == [STATUS, Watching(), STATUS]


def test_a_client_that_says_it_has_said_all_is_answered_and_then_closed(play: Play) -> None:
    client = play.client()
    play.run(client.say(StatusRequest()))
    client.socket.shutdown(socket.SHUT_WR)

    assert [play.run(client.hear()) for _ in range(2)] == [STATUS, None]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n",
        b"\n",
        b"\0" * 100 + b"\n",
        b"[" * 9_000 + b"\n",
        b"{}\n",
        b"x" * 99_999,
    ],
    ids=["http", "empty", "zeros", "nested", "no version", "endless"],
)
def test_nonsense_is_refused_and_the_connection_closed(play: Play, nonsense: bytes) -> None:
    client = play.client()

    async def shout() -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # closed before all was sent
            await client.say(nonsense)

    play.run(shout())
    assert refusal(play.run(client.hear())) == "bad-message"
    assert play.run(client.hear()) is None
    assert play.counters[Counter.CONTROL_REFUSED] == 1
    assert play.run(still_served(play))


@given(raw=st.binary(min_size=1, max_size=300))
def test_bytes_of_any_kind_cost_at_most_the_connection(
    raw: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    play = Play(tmp_path_factory.mktemp("any"))
    try:
        play.run(play.client().say(raw + b"\n"))
        assert play.run(still_served(play))
    finally:
        play.close()


def test_a_request_of_a_later_version_of_the_program_leaves_the_connection_open(play: Play) -> None:
    client = play.client()
    play.run(client.say(b'{"v":1,"type":"dance"}\n'))

    assert refusal(play.run(client.hear())) == "unknown-type"
    assert play.run(client.ask(StatusRequest())) == STATUS


def test_who_may_only_watch_cannot_stop_or_reload(play: Play) -> None:
    play.rights = frozenset({Right.WATCH})
    client = play.client()

    assert refusal(play.run(client.ask(StopRequest()))) == "not-allowed"
    assert refusal(play.run(client.ask(ReloadRequest()))) == "not-allowed"
    assert play.run(client.ask(StatusRequest())) == STATUS
    assert play.stops == 0
    assert play.counters[Counter.CONTROL_REFUSED] == 2


def test_who_has_no_right_is_told_so_before_he_asks(play: Play) -> None:
    play.rights = frozenset()
    client = play.client()

    reply = play.run(client.hear())

    assert refusal(reply) == "not-allowed"
    assert f"user {os.geteuid()} is neither root nor a member" in str(reply)
    assert play.run(client.hear()) is None


def test_one_user_has_so_many_connections_and_a_closed_one_makes_room(make: MakePlay) -> None:
    play = make(ControlLimits(connections_of_user=2))
    first, second, third = (play.client() for _ in range(3))

    assert refusal(play.run(third.hear())) == "too-many"
    assert play.run(first.ask(StatusRequest())) == STATUS
    first.close()

    async def let_in_again() -> None:
        # The server may come to see the new one before the end of the old one.
        while isinstance(await play.client().ask(StatusRequest()), Refused):
            pass

    play.run(let_in_again())
    assert play.run(second.ask(StatusRequest())) == STATUS


def test_who_says_nothing_or_never_ends_a_line_is_sent_away(make: MakePlay) -> None:
    play = make(ControlLimits(silent_s=0.1))
    silent, slow, quick = (play.client() for _ in range(3))

    async def trickle() -> Reply | None:
        hearing = play.loop.create_task(slow.hear())
        while not hearing.done():
            with suppress(BrokenPipeError, ConnectionResetError):
                await slow.say(b"x")
            await asyncio.sleep(0.01)
        return await hearing

    assert play.run(quick.ask(StatusRequest())) == STATUS
    assert refusal(play.run(trickle())) == "silent"
    assert refusal(play.run(silent.hear())) == "silent"
    assert play.run(silent.hear()) is None
    assert play.run(quick.ask(StatusRequest())) == STATUS


def test_who_watches_may_be_silent_for_ever(make: MakePlay) -> None:
    play = make(ControlLimits(silent_s=0.05, idle_s=0.05))
    watcher = play.run(watching(play))
    other = play.client()

    assert refusal(play.run(other.hear())) == "silent"
    play.server.record(a_record(1))
    assert play.run(records_of(watcher, 1)) == [1]


def test_who_asks_and_never_reads_is_no_longer_read_and_then_closed(make: MakePlay) -> None:
    play = make(ControlLimits(idle_s=0.2, requests_per_s=1e6, requests_at_once=1_000_000))
    play.on_status = lambda: replace(STATUS, rule_files=("/" + "x" * 50_000,))
    client = play.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)

    async def ask_on() -> int:
        asked = 0
        while True:
            try:
                await client.say(StatusRequest())
            except (BrokenPipeError, ConnectionResetError):
                return asked
            asked += 1

    assert play.run(ask_on()) > 1
    assert play.run(still_served(play))


def test_requests_that_come_too_quickly_wait_and_a_new_connection_is_no_way_around(
    make: MakePlay,
) -> None:
    play = make(ControlLimits(requests_per_s=20, requests_at_once=3))
    play.rights = frozenset({Right.WATCH})

    async def ask_ten_times() -> float:
        began = play.loop.time()
        for _ in range(10):
            client = play.client()
            assert await client.ask(StatusRequest()) == STATUS
            client.close()
        return play.loop.time() - began

    assert play.run(ask_ten_times()) >= 6 / 20
    assert play.counters[Counter.CONTROL_SLOWED] > 0


def test_who_may_answer_may_ask_more_often_and_is_not_held_to_what_was_asked_before(
    make: MakePlay,
) -> None:
    limits = ControlLimits(requests_per_s=0.001, requests_at_once=2, answerer_requests_at_once=9)
    play = make(limits)
    play.rights = frozenset({Right.WATCH})
    watcher = play.client()
    for _ in range(2):
        assert play.run(watcher.ask(StatusRequest())) == STATUS
    play.rights = frozenset({Right.WATCH, Right.ANSWER})
    answerer = play.client()
    for _ in range(8):
        assert play.run(answerer.ask(StatusRequest())) == STATUS

    assert play.counters[Counter.CONTROL_SLOWED] == 0
    play.run(watcher.say(StatusRequest()))
    play.run(play.until(lambda: play.counters[Counter.CONTROL_SLOWED] == 1))


def test_a_request_that_costs_much_time_counts_as_many(make: MakePlay) -> None:
    play = make(ControlLimits(requests_per_s=0.001, requests_at_once=30, request_cpu_s=0.001))
    play.rights = frozenset({Right.WATCH})

    def ponder() -> Status:
        until_s = time.thread_time() + 0.1
        while time.thread_time() < until_s:
            pass
        return STATUS

    play.on_status = ponder
    client = play.client()

    assert play.run(client.ask(StatusRequest())) == STATUS
    assert play.counters[Counter.CONTROL_SLOWED] == 0
    play.run(client.say(StatusRequest()))
    play.run(play.until(lambda: play.counters[Counter.CONTROL_SLOWED] == 1))


def test_those_who_only_watch_leave_room_for_those_who_answer(
    make: MakePlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = make(ControlLimits(connections_of_others=3, connections_of_watchers=2))
    uids = iter(range(1_000, 2_000))  # each comes as somebody else
    monkeypatch.setattr(control, "peer_of", lambda one: peer_of(one)._replace(uid=next(uids)))
    play.rights = frozenset({Right.WATCH})
    watchers = [play.client() for _ in range(3)]

    assert [play.run(each.ask(StatusRequest())) for each in watchers[:2]] == [STATUS] * 2
    assert refusal(play.run(watchers[2].hear())) == "too-many"
    play.rights = frozenset({Right.WATCH, Right.ANSWER})
    first, second = play.client(), play.client()
    assert play.run(first.ask(StatusRequest())) == STATUS
    assert refusal(play.run(second.hear())) == "too-many"


def test_out_of_descriptors_is_counted_without_spinning_and_goes_by(make: MakePlay) -> None:
    play = make(ControlLimits(retry_s=0.05))
    waiting = play.unconnected()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        waiting.connect()
        play.run(asyncio.sleep(0.5))
        errors = play.counters[Counter.CONTROL_ACCEPT_ERRORS]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert 1 <= errors <= 0.5 / 0.05 + 1
    assert play.run(waiting.ask(StatusRequest())) == STATUS
