"""How a prompter ends."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.control_client import ControlError, NotRunningError
from nfsnitch.core.text import counted
from nfsnitch.prompt.session import Session

AGAIN_S = 1.0
"""So long until a daemon is looked for again."""
ASKING_WITHIN_S = 10.0
INTERRUPTED, TERMINATED = 130, 143
"""As shells have them: ended by SIGINT, by SIGTERM."""


class Options(NamedTuple):
    """What the command line has said of a prompter."""

    follows: bool
    """Waits for a daemon, and for the next one."""
    guard_s: float
    rings: bool
    """Rings the terminal's bell when something is asked."""


class Ending(NamedTuple):
    """The exit status, and what is to be said of it."""

    status: int
    text: str = ""
    kept: tuple[str, ...] = ()
    """Where what a person has written is kept."""


def lost(session: Session) -> Ending:
    """Return the end when the daemon has gone."""
    if session.has_stopped:
        return Ending(0, "the daemon has stopped")
    text = "the daemon is gone, without a word: it may have crashed; see nfsnitch status"
    return Ending(NotRunningError.exit_status, text)


def failed(error: ControlError) -> Ending:
    """Return the end when something does not work."""
    return Ending(error.exit_status, str(error))


def left(session: Session, status: int = 0) -> Ending:
    """Return the end when the person leaves."""
    waiting = len(session.board)
    return Ending(status, f"{counted(waiting, 'question')} still asked" if waiting else "")
