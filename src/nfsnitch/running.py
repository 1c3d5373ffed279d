"""Until when the daemon runs: a signal, a request or a failure ends it."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any


class Running:
    """An event loop that runs until it is told to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to SIGTERM, SIGINT and SIGUSR2 from now on, even before `serve`."""
        self._loop = loop
        self._failure: BaseException | None = None
        self._has_ended = False
        self.keep_owners = False
        """Whether whoever ended it wants the eBPF programs to stay."""
        loop.set_exception_handler(self._failed)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        loop.add_signal_handler(signal.SIGUSR2, partial(self.end, keep_owners=True))

    def serve(self) -> None:
        """Run the loop until somebody says `end`; raises what was given to `fail`."""
        self._loop.run_forever()
        self._has_ended = True
        if self._failure is not None:
            raise self._failure

    def end(self, *, keep_owners: bool = False) -> None:
        """Have `serve` return; who asks again while all is being taken down stops nothing more."""
        self.keep_owners |= keep_owners
        if not self._has_ended:
            self._loop.stop()

    def fail(self, problem: BaseException) -> None:
        """Have `serve` raise what nobody has foreseen."""
        self._failure = problem
        self.end()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.fail(context.get("exception") or RuntimeError(context["message"]))
