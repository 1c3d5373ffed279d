"""What clients of the control socket have the daemon do: what they hear, and when it fails."""

from __future__ import annotations

import asyncio

from control_play import (
    STATUS,
    Play,
    refusal,
    still_served,
)
from nfsnitch.core.counters import Counter
from nfsnitch.protocol import (
    OwnersRequest,
    Refused,
    Reloaded,
    ReloadRequest,
    Reply,
    Status,
    StatusRequest,
    Stopping,
    StopRequest,
)


def test_a_request_on_which_the_daemon_fails_is_refused_and_the_daemon_goes_on(play: Play) -> None:
    def fail() -> Status:
        raise OSError("no /proc")

    play.on_status = fail
    client = play.client()

    assert refusal(play.run(client.ask(StatusRequest()))) == "failed"
    assert play.counters[Counter.CONTROL_ERRORS] == 1
    play.on_status = lambda: STATUS
    assert play.run(client.ask(StatusRequest())) == STATUS


def test_a_reload_is_answered_when_it_is_done_and_others_are_answered_meanwhile(
    play: Play,
) -> None:
    may_end = asyncio.Event()

    async def reload() -> Reloaded:
        await may_end.wait()
        return Reloaded(2, 7, 1, None)

    play.on_reload = reload
    client = play.client()
    play.run(client.say(ReloadRequest(), StatusRequest()))

    assert play.run(still_served(play))
    may_end.set()
    assert [play.run(client.hear()) for _ in range(2)] == [Reloaded(2, 7, 1, None), STATUS]


def test_reloads_are_done_one_after_the_other(play: Play) -> None:
    running: list[int] = []
    most = 0

    async def reload() -> Reloaded:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(0.02)
        running.pop()
        return Reloaded(1, 0, 0, "no")

    play.on_reload = reload
    clients = [play.client() for _ in range(3)]

    async def ask_all() -> list[Reply | None]:
        return list(await asyncio.gather(*(client.ask(ReloadRequest()) for client in clients)))

    assert play.run(ask_all()) == [Reloaded(1, 0, 0, "no")] * 3
    assert most == 1


def test_a_reload_that_fails_is_refused_and_counted(play: Play) -> None:
    async def reload() -> Reloaded:
        raise ValueError("a bug")

    play.on_reload = reload

    assert refusal(play.run(play.client().ask(ReloadRequest()))) == "failed"
    assert play.counters[Counter.CONTROL_ERRORS] == 1


def test_a_client_that_leaves_during_its_reload_is_no_obstacle(play: Play) -> None:
    may_end = asyncio.Event()
    done: list[int] = []

    async def reload() -> Reloaded:
        await may_end.wait()
        done.append(1)
        return Reloaded(2, 7, 1, None)

    play.on_reload = reload
    client = play.client()
    play.run(client.say(ReloadRequest()))
    play.run(still_served(play))
    client.close()
    may_end.set()

    play.run(play.until(lambda: bool(done)))
    assert play.run(still_served(play))


def test_a_stop_is_answered_before_it_happens_and_the_connection_ends_with_the_daemon(
    play: Play,
) -> None:
    client = play.client()

    assert play.run(client.ask(StopRequest())) == Stopping()
    assert play.stops == 1
    play.server.close()
    assert play.run(client.hear()) == Stopping()
    assert play.run(client.hear()) is None
    assert not play.path.exists()


def test_a_daemon_that_has_nothing_to_list_owners_with_says_so(play: Play) -> None:
    reply = play.run(play.client().ask(OwnersRequest()))

    assert isinstance(reply, Refused)
    assert reply.why == "not-supported"
