"""When the engine is to be woken: at one moment, the earliest that matters."""

from __future__ import annotations

from nfsnitch.core.commands import Command, WakeAt


class Alarm:
    """Asks to be woken no more often than needed. The engine and its parts share it."""

    def __init__(self) -> None:
        self._set_ns: int | None = None

    def by(self, deadline_ns: int | None) -> list[Command]:
        """Return what it takes to be woken at this moment (monotonic) or before; None: never."""
        if deadline_ns is None or (self._set_ns is not None and self._set_ns <= deadline_ns):
            return []
        self._set_ns = deadline_ns
        return [WakeAt(deadline_ns)]

    def rang(self) -> None:
        """Take note that the moment has come: there is no other yet."""
        self._set_ns = None
