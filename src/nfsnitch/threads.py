"""Work that waits for the disk, or takes long, while the event loop goes on."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")

_SWITCH_S = 0.0005
"""How long another thread may keep the interpreter to itself while a packet waits."""


async def in_thread(work: Callable[[], T]) -> T:
    """Return what *work* returns, done in a thread that a stop does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, problem: BaseException | None) -> None:
        if future.cancelled():
            return
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
            problem = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, problem)

    threading.Thread(target=run, name="nfsnitch-work", daemon=True).start()
    return await future


@contextmanager
def packets_first() -> Iterator[None]:
    """Let no other thread make a packet wait for long."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
