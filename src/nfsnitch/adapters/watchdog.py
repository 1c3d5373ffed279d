"""Ends this process if it hangs, and tells a service manager as long as it does not.

A process that hangs is worse than none: its queue is still open, so that nothing passes with
`fail: open` either, and nobody starts another one. So a thread that needs no interpreter lock ends
the process unless it is told again and again that all is well (`faulthandler`).
"""

from __future__ import annotations

import faulthandler
import os
import time

from nfsnitch.adapters.sd_notify import notify

_SHARE, _MANAGERS_SHARE, _AT_LEAST_EACH_S = 8, 4, 2.0
"""It is told anew after an eighth of the timeout (of a service manager's, a quarter), or so soon.

Each time a thread is ended and another one begun: too dear for every packet, and for every second.
"""
_STDERR = 2
"""The descriptor: it is there whatever has become of `sys.stderr`."""


class Watchdog:
    """Watches the thread that calls `alive`."""

    def __init__(self, timeout_ns: int) -> None:
        """End the process with status 1, and all stacks on stderr, *timeout_ns* after `alive`."""
        self._timeout_s = timeout_ns / 1e9
        managers_s = _managers_timeout_s()
        self._tells_manager = managers_s is not None
        self._each_s = min(self._timeout_s / _SHARE, _AT_LEAST_EACH_S)
        if managers_s is not None:
            self._each_s = min(self._each_s, managers_s / _MANAGERS_SHARE)
        self._said_s = -_AT_LEAST_EACH_S

    def alive(self) -> None:
        """Say that all is well; from the first time on it must be said again and again.

        Before each step that may take long, not once a round: many slow steps are no hang.
        It costs next to nothing if said more often than needed.
        """
        now_s = time.monotonic()
        if now_s - self._said_s < self._each_s:
            return
        self._said_s = now_s
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=_STDERR)
        if self._tells_manager:
            notify("WATCHDOG=1", wait_s=0)

    def stop(self) -> None:
        """Watch no longer."""
        faulthandler.cancel_dump_traceback_later()


def _managers_timeout_s() -> float | None:
    """Return how soon the service manager wants to hear of us (sd_watchdog_enabled(3)), if at all.

    None: it does not wait for us.
    """
    wanted = os.environ.get("WATCHDOG_USEC", "")
    is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(wanted) / 1e6 if wanted.isdecimal() and is_ours else None
